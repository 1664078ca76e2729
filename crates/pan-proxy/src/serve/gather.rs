//! Little things in several parts are written as one: that costs less than telling the kernel of each.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// A head and a small body. Copying more costs more than it saves.
const SMALL: usize = 2048;

/// Writes `parts`, or the first of their bytes. As [`AsyncWrite::poll_write_vectored`].
pub fn poll_write<W: AsyncWrite>(io: Pin<&mut W>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if parts.len() < 2 || length > SMALL {
        return io.poll_write_vectored(context, parts);
    }
    let (mut whole, mut at) = ([0; SMALL], 0);
    for part in parts {
        whole[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    io.poll_write(context, &whole[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written at a time, and in how many parts.
    #[derive(Default)]
    struct Kernel(Vec<(usize, usize)>);

    impl AsyncWrite for Kernel {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push((bytes.len(), 1));
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_write_vectored(mut self: Pin<&mut Self>, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let length = parts.iter().map(|part| part.len()).sum();
            self.0.push((length, parts.len()));
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_little_is_one_piece() {
        let mut kernel = Kernel::default();
        for lengths in [&[100, 1024][..], &[1024, 1024], &[1024, 1025], &[3000], &[0, 0, 5]] {
            let bytes = vec![7; 3000];
            let parts: Vec<IoSlice<'_>> = lengths.iter().map(|length| IoSlice::new(&bytes[..*length])).collect();
            let written = poll_write(Pin::new(&mut kernel), &mut Context::from_waker(std::task::Waker::noop()), &parts);
            assert!(matches!(written, Poll::Ready(Ok(length)) if length == lengths.iter().sum::<usize>()));
        }
        assert_eq!(kernel.0, [(1124, 1), (2048, 1), (2049, 2), (3000, 1), (5, 1)]);
    }
}
