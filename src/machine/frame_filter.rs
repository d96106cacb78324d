//! Which Ethernet frames of a guest may reach the network of `--net internet`: ARP, and IPv4 to
//! destinations outside of the host itself and its link. Pure.

use std::net::Ipv4Addr;

/// The largest frame that is taken, in bytes: an IPv4 packet has a length of 16 bits.
pub const MAX_FRAME: usize = 65_535 + HEADER;

/// Addresses and type.
const HEADER: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];

/// Whether a frame may pass. Everything that is not understood may not.
pub fn may_pass(frame: &[u8]) -> bool {
    let Some((header, packet)) = frame.split_at_checked(HEADER) else {
        return false;
    };
    match [header[12], header[13]] {
        ARP => true,
        IPV4 => destination(packet).is_some_and(is_outside),
        _ => false,
    }
}

/// RFC 791.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let header = packet.first_chunk::<20>()?;
    let is_version_4 = header[0] >> 4 == 4;
    is_version_4.then(|| Ipv4Addr::new(header[16], header[17], header[18], header[19]))
}

/// Linux takes 0.0.0.0 for its loopback address, and a cloud's metadata service is link-local.
fn is_outside(address: Ipv4Addr) -> bool {
    address.octets()[0] != 0 && !address.is_loopback() && !address.is_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: [u8; 2], to: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0x52; 12];
        frame.extend(kind);
        frame.extend([0x45; 16]);
        frame.extend(to);
        frame
    }

    #[test]
    fn only_arp_and_ipv4_to_the_outside_pass() {
        for to in [
            [192, 0, 2, 1],
            [10, 0, 0, 1],
            [255, 255, 255, 255],
            [8, 8, 8, 8],
        ] {
            assert!(may_pass(&frame(IPV4, to)), "{to:?}");
        }
        for to in [
            [127, 0, 0, 1],
            [127, 9, 9, 9],
            [169, 254, 169, 254],
            [0, 0, 0, 0],
            [0, 1, 2, 3],
        ] {
            assert!(!may_pass(&frame(IPV4, to)), "{to:?}");
        }
        assert!(may_pass(&frame(ARP, [127, 0, 0, 1])));
        // IPv6, 802.1Q, and IPv6 that says it is IPv4.
        assert!(!may_pass(&frame([0x86, 0xdd], [8, 8, 8, 8])));
        assert!(!may_pass(&frame([0x81, 0x00], [8, 8, 8, 8])));
        let mut six = frame(IPV4, [8, 8, 8, 8]);
        six[HEADER] = 0x65;
        assert!(!may_pass(&six));
        let whole = frame(IPV4, [8, 8, 8, 8]);
        assert!((0..whole.len()).all(|length| !may_pass(&whole[..length])));
    }
}
