//! `bivouac cat`: prints files of an image.

use std::ffi::OsString;

use tokio::io::AsyncReadExt;

use super::args::image::InspectionArgs;
use super::image_path::{ImagePath, by_image, exists};
use super::inspection::{Inspector, is_torn_read};
use super::stdout_sink::StdoutSink;
use super::{Failure, stdout_sink};
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::protocol::{ByteString, PathAt};
use crate::session::{Session, SessionError};

/// Print files of an image, without booting it
///
/// Output to a pipe or a file is unchanged; on a terminal, control characters are escaped. Exits
/// with 1 if a file could not be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// An image and a file in it, such as disk.qcow2:/etc/os-release
    #[arg(value_name = "IMAGE:PATH", required = true)]
    pub places: Vec<OsString>,
    /// How the image is opened.
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let places = args.places.iter();
    let places = places.map(|words| ImagePath::parse_named(words, exists));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    stdout_sink::run(async |output| {
        let mut complete = true;
        for (image, places) in by_image(places) {
            complete &= inspector
                .with_image(&image, async |inside| {
                    let mut output = output.lock().await;
                    output.begin(inside.in_use)?;
                    output.mark(&inside.phases);
                    inside.enter(true, false).await?;
                    let mut complete = true;
                    for place in &places {
                        match print(&inside.session, ROOT, &place.path, &mut output).await {
                            Err(CatError::Guest(SessionError::Refused(error)))
                                if !(inside.in_use && is_torn_read(&error)) =>
                            {
                                tracing::error!("{error}");
                                complete = false;
                            }
                            Err(CatError::Guest(error)) => return Err(error.into()),
                            Err(CatError::Output(failure)) => return Err(failure),
                            Ok(()) => {}
                        }
                    }
                    Ok(complete)
                })
                .await?;
            output.lock().await.commit().await?;
        }
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}

/// Why a file was not printed.
#[derive(Debug)]
pub enum CatError {
    /// The guest could not read it, or the session ended.
    Guest(SessionError),
    /// Standard output is closed.
    Output(Failure),
}

impl From<SessionError> for CatError {
    fn from(error: SessionError) -> Self {
        Self::Guest(error)
    }
}

/// Copies one file to standard output.
pub async fn print(
    session: &Session,
    root: &str,
    path: &[u8],
    output: &mut StdoutSink,
) -> Result<(), CatError> {
    let at = PathAt {
        root: root.into(),
        path: ByteString(path.to_vec()),
    };
    let (_, mut stream) = session.read(at, 0, None).await?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream
            .read(&mut buffer)
            .await
            .map_err(SessionError::of_stream)?
        {
            0 => return Ok(()),
            read => {
                let written = output.write(&buffer[..read]).await;
                written.map_err(|closed| CatError::Output(closed.into()))?;
            }
        }
    }
}
