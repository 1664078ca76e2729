//! Answers that wait to be sent, and their way out: many in one system call, data from where it was read.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use pan_nbd::Reply;
use tokio::net::UnixStream;

use crate::buffer::Buffer;

/// Of one system call. More slices than this hold more than a socket's buffer takes, for all but the smallest answers.
const SLICES_MAX: usize = 64;

/// One request's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub reply: Reply,
    pub data: Option<Buffer>,
    /// What is given back when it has been sent.
    pub charge: usize,
}

impl Answer {
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.reply.slices(self.data.as_deref().unwrap_or_default())
    }
}

/// In the order in which they were ready.
#[derive(Debug, Default)]
pub(super) struct Output {
    answers: VecDeque<Answer>,
    /// How much of the first one is sent.
    sent: usize,
}

impl Output {
    pub fn push(&mut self, answer: Answer) {
        self.answers.push_back(answer);
    }

    pub fn count(&self) -> usize {
        self.answers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Sends as much as the socket takes. Returns what the answers that are out of the house were charged, `None` if
    /// nothing at all could be sent.
    pub fn send(&mut self, stream: &UnixStream) -> io::Result<Option<usize>> {
        let mut freed = None;
        while !self.answers.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let mut skip = self.sent;
            for slice in self.answers.iter().flat_map(Answer::slices) {
                let now = skip.min(slice.len());
                skip -= now;
                if now < slice.len() {
                    slices[count] = IoSlice::new(&slice[now..]);
                    count += 1;
                }
                if count == SLICES_MAX {
                    break;
                }
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(bytes) => *freed.get_or_insert(0) += self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(freed)
    }

    fn advance(&mut self, bytes: usize) -> usize {
        self.sent += bytes;
        let mut freed = 0;
        while let Some(answer) = self.answers.pop_front_if(|first| first.reply.length() <= self.sent) {
            self.sent -= answer.reply.length();
            freed += answer.charge;
        }
        freed
    }
}
