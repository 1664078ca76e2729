//! Storage in a file or on a disk, as it is: no holes, no checksums. What volumes are measured against.

use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use pan_nbd::{Durability, ErrorCode, Extents, Failure, Pace, Span, State, Stretch};

use crate::buffer::Buffer;
use crate::storage::{Read, Storage, Zeroing};

/// Zeroes are written in parts of this size.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A file that has its size already. Its calls block, so they run on tokio's threads for that.
#[derive(Debug)]
pub struct File(Arc<std::fs::File>);

impl File {
    #[must_use]
    pub fn new(file: std::fs::File) -> Self {
        Self(Arc::new(file))
    }

    fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Failure>> + Send {
        let file = Arc::clone(&self.0);
        async move {
            let done = tokio::task::spawn_blocking(move || call(&file)).await;
            let done = done.map_err(|error| Failure::new(ErrorCode::Io, format!("cannot {what}: {error}")))?;
            done.map_err(|error| failure(what, &error))
        }
    }
}

fn failure(what: &str, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ErrorCode::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorCode::NotPermitted,
        _ => ErrorCode::Io,
    };
    Failure::new(code, format!("cannot {what}: {error}"))
}

fn sync(file: &std::fs::File, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Cached => Ok(()),
        Durability::Stable => file.sync_data(),
    }
}

fn write_zeroes(file: &std::fs::File, span: Span) -> io::Result<()> {
    let (mut at, step) = (span.offset, ZEROES.len());
    while at < span.end() {
        let length = usize::try_from(span.end() - at).unwrap_or(step).min(step);
        file.write_all_at(&ZEROES[..length], at)?;
        at += u64::try_from(length).expect("64 KiB at most");
    }
    Ok(())
}

impl Storage for File {
    fn read(&self, span: Span, mut into: Buffer) -> impl Future<Output = Result<Read, Failure>> + Send {
        self.run("read", move |file| file.read_exact_at(&mut into, span.offset).map(|()| Read { data: into, pieces: Vec::new() }))
    }

    fn write(&self, span: Span, data: Buffer, durability: Durability) -> impl Future<Output = Result<(), Failure>> + Send {
        self.run("write", move |file| {
            file.write_all_at(&data, span.offset)?;
            sync(file, durability)
        })
    }

    fn flush(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        self.run("flush", std::fs::File::sync_data)
    }

    async fn trim(&self, _span: Span, _durability: Durability) -> Result<(), Failure> {
        Ok(())
    }

    async fn zero(&self, span: Span, how: Zeroing) -> Result<(), Failure> {
        if how.pace == Pace::FastOnly {
            return Err(Failure::new(ErrorCode::NotSupported, "zeroes are written here like anything else"));
        }
        let durability = how.durability;
        self.run("write zeroes", move |file| write_zeroes(file, span).and_then(|()| sync(file, durability))).await
    }

    async fn status(&self, span: Span, _extents: Extents) -> Result<Vec<Stretch>, Failure> {
        Ok(vec![Stretch { length: span.length, state: State::Data }])
    }
}
