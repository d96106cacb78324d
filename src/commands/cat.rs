//! `bivouac cat`: prints files of an image.

use std::ffi::OsString;

use super::args::image::InspectionArgs;
use super::glob;
use super::image_path::{ImagePath, exists};
use super::inspection::Inspector;
use super::stdout_sink;
use super::stdout_sink::StdoutSink;
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::Failure;
use crate::protocol::PathAt;
use crate::session::Session;

/// Print files of an image, without booting it
///
/// Output to a pipe or a file is unchanged; on a terminal, control characters are escaped. Exits
/// with 1 if a file could not be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// An image and a file in it, such as disk.qcow2:/etc/os-release
    #[arg(value_name = "IMAGE:PATH", required = true)]
    pub places: Vec<OsString>,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// How large a file has to be, in bytes, until a request more is worth its time.
const LARGE: u64 = 2 << 20;

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let places = args.places.iter();
    let places = places.map(|words| ImagePath::parse_named(words, exists));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    stdout_sink::run(async |output| {
        let printing =
            inspector.with_roots(places, output, false, async |image, (_, places), output| {
                let mut complete = true;
                for place in &glob::expand(&image.session, places).await? {
                    match print(&image.session, ROOT, &place.path, output).await {
                        Err(failure) if image.is_of_a_file(&failure) => {
                            tracing::error!("{}", failure.error);
                            complete = false;
                        }
                        result => result?,
                    }
                }
                Ok(complete)
            });
        printing.await
    })
}

pub async fn print(
    session: &Session,
    root: &str,
    path: &[u8],
    output: &mut StdoutSink,
) -> Result<(), Failure> {
    let (stat, stream) = session.read(PathAt::new(root, path), 0, None).await?;
    if stat.size >= LARGE {
        session.place_data().await;
    }
    output.copy(stream).await
}
