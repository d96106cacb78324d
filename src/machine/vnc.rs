//! Lets users see a machine's screen by QEMU's VNC server, which lets in nobody by itself.

use std::os::fd::OwnedFd;

use qapi::qmp::{
    DisplayUpdateOptions, DisplayUpdateOptionsVNC, FdSocketAddress, SetPasswordOptions,
    SetPasswordOptionsBase, SetPasswordOptionsVnc, SocketAddress,
};

use super::{Machine, StartError};

/// QEMU's name for the socket.
const SOCKET: &str = "vnc";

impl Machine {
    /// Lets in who knows `password`, of which VNC uses 8 characters.
    pub async fn set_vnc_password(&mut self, password: &str) -> Result<(), StartError> {
        let options = SetPasswordOptions::vnc {
            base: SetPasswordOptionsBase {
                connected: None,
                password: password.to_owned(),
            },
            vnc: SetPasswordOptionsVnc { display: None },
        };
        self.execute(qapi::qmp::set_password(options))
            .await
            .map(drop)
    }

    /// Lets in who can connect to `socket`, which is bound. Needs QEMU 7.1.
    pub async fn serve_vnc(&mut self, socket: OwnedFd) -> Result<(), StartError> {
        let getfd = qapi::qmp::getfd {
            fdname: SOCKET.to_owned(),
        };
        self.execute_with(getfd, Some(socket)).await?;
        let address = FdSocketAddress {
            str: SOCKET.to_owned(),
        };
        let vnc = DisplayUpdateOptionsVNC {
            addresses: Some(vec![SocketAddress::fd(address)]),
        };
        self.execute(qapi::qmp::display_update(DisplayUpdateOptions::vnc(vnc)))
            .await
            .map(drop)
    }
}
