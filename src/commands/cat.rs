//! `bivouac cat`: files of an image, to standard output.

use std::ffi::OsString;

use tokio::io::AsyncReadExt;

use super::args::image::InspectionArgs;
use super::image_path::{ImagePath, by_image, exists};
use super::inspection::{Inspector, is_torn_read};
use super::results::Results;
use super::{Failure, results};
use crate::exit::Status;
use crate::guest::boot::ROOT;
use crate::guest::session::{Session, SessionError};
use crate::guest::wire::{ByteString, PathAt};

/// Print files of an image, without booting it
///
/// A pipe or a file gets every byte; on a terminal control characters are escaped. Exits with 1
/// where a file could not be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// An image and a file in it, such as disk.qcow2:/etc/os-release
    #[arg(value_name = "IMAGE:PATH", required = true)]
    pub places: Vec<OsString>,
    /// How the image is opened.
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Prints. Must be called on the main thread, before any other is started.
///
/// # Errors
/// The image cannot be looked into.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let places = args.places.iter();
    let places = places.map(|words| ImagePath::parse_named(words, exists));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    results::run(async |results| {
        let mut complete = true;
        for (image, places) in by_image(places) {
            complete &= inspector
                .with_image(&image, async |inside| {
                    let mut results = results.lock().await;
                    results.begin(inside.in_use)?;
                    results.mark(&inside.phases);
                    inside.enter(true, false).await?;
                    let mut complete = true;
                    for place in &places {
                        match print(&inside.session, ROOT, &place.path, &mut results).await {
                            Err(Trouble::Guest(SessionError::Refused(error)))
                                if !(inside.in_use && is_torn_read(&error)) =>
                            {
                                tracing::error!("{error}");
                                complete = false;
                            }
                            Err(Trouble::Guest(error)) => return Err(error.into()),
                            Err(Trouble::Here(failure)) => return Err(failure),
                            Ok(()) => {}
                        }
                    }
                    Ok(complete)
                })
                .await?;
            results.lock().await.keep().await?;
        }
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}

/// On which side it went wrong.
#[derive(Debug)]
pub enum Trouble {
    /// The file, or the machine.
    Guest(SessionError),
    /// Standard output.
    Here(Failure),
}

impl From<SessionError> for Trouble {
    fn from(error: SessionError) -> Self {
        Self::Guest(error)
    }
}

/// Writes one file's bytes to the results.
///
/// # Errors
/// It cannot be read, or nothing more can be written.
pub async fn print(
    session: &Session,
    root: &str,
    path: &[u8],
    results: &mut Results,
) -> Result<(), Trouble> {
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
                let put = results.put(&buffer[..read]).await;
                put.map_err(|gone| Trouble::Here(gone.into()))?;
            }
        }
    }
}
