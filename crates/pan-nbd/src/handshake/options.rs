//! The answer to each option. Knows nothing of how options arrive.

use super::answer::Answer;
use super::context::{self, Purpose};
use super::machine::Agreed;
use crate::catalog::{Catalog, Export, ExportIndex, Listing, STRING_MAX};
use crate::cursor::Cursor;
use crate::failure::Ended;
use crate::numbers::{info, opt, rep};
use crate::transmission::{Terms, Transmission};

/// What an option, or the client's flags, led to.
pub(super) enum Outcome {
    /// Nothing to say.
    Quiet,
    Send(Vec<u8>),
    Begin {
        bytes: Vec<u8>,
        export: ExportIndex,
        transmission: Transmission,
    },
    End {
        bytes: Vec<u8>,
        ended: Ended,
    },
}

impl Outcome {
    pub fn end(ended: Ended) -> Self {
        Self::End { bytes: Vec::new(), ended }
    }

    fn refused(why: &'static str) -> Self {
        Self::end(Ended::Refused { why })
    }
}

pub(super) fn answer(agreed: &mut Agreed, catalog: &Catalog, option: u32, data: &[u8]) -> Outcome {
    let answer = Answer::to(option);
    match option {
        opt::EXPORT_NAME => export_name(agreed, catalog, data),
        _ if !agreed.fixed => Outcome::end(Ended::NotFixed { option }),
        opt::ABORT => Outcome::End { bytes: answer.ack(), ended: Ended::Left },
        _ if agreed.shutting_down => Outcome::Send(answer.error(rep::ERR_SHUTDOWN, "the server is ending")),
        opt::LIST => Outcome::Send(list(answer, catalog, data)),
        opt::STARTTLS => Outcome::Send(answer.error(rep::ERR_POLICY, "there is no TLS on this socket, which never leaves its host")),
        opt::INFO => Outcome::Send(inform(agreed, catalog, answer, data).0),
        opt::GO => match inform(agreed, catalog, answer, data) {
            (bytes, Some((export, found))) => begin(agreed, bytes, export, found),
            (bytes, None) => Outcome::Send(bytes),
        },
        opt::STRUCTURED_REPLY if data.is_empty() => {
            agreed.structured = true;
            Outcome::Send(answer.ack())
        }
        opt::STRUCTURED_REPLY => Outcome::Send(answer.error(rep::ERR_INVALID, "expected no data")),
        opt::LIST_META_CONTEXT | opt::SET_META_CONTEXT if !agreed.structured => {
            Outcome::Send(answer.error(rep::ERR_INVALID, "structured replies have to be negotiated first"))
        }
        opt::LIST_META_CONTEXT => Outcome::Send(context::answer(Purpose::List, answer, data, catalog).0),
        opt::SET_META_CONTEXT => {
            let (bytes, selected) = context::answer(Purpose::Set, answer, data, catalog);
            agreed.context = selected;
            Outcome::Send(bytes)
        }
        _ => Outcome::Send(answer.error(rep::ERR_UNSUP, "not known here")),
    }
}

/// The oldest way to choose. It has no answer but the export or the end.
fn export_name(agreed: &Agreed, catalog: &Catalog, data: &[u8]) -> Outcome {
    let name = std::str::from_utf8(data).ok().filter(|name| name.len() <= STRING_MAX);
    let Some((index, export)) = name.and_then(|name| catalog.find(name)) else {
        return Outcome::refused("there is no such export");
    };
    if agreed.shutting_down {
        return Outcome::refused("the server is ending");
    }
    if export.blocks.must_be_told() && agreed.blocks_told != Some(index) {
        return Outcome::refused("the client has not asked for its block sizes");
    }
    let mut bytes = export.size.0.to_be_bytes().to_vec();
    bytes.extend(export.flags(agreed.structured).to_be_bytes());
    if !agreed.no_zeroes {
        bytes.extend([0; 124]);
    }
    begin(agreed, bytes, index, export)
}

fn begin(agreed: &Agreed, bytes: Vec<u8>, index: ExportIndex, export: &Export) -> Outcome {
    let terms = Terms { structured: agreed.structured, context: agreed.context == Some(index) };
    Outcome::Begin { bytes, export: index, transmission: Transmission::new(export, terms) }
}

fn list(answer: Answer, catalog: &Catalog, data: &[u8]) -> Vec<u8> {
    if !data.is_empty() {
        return answer.error(rep::ERR_INVALID, "expected no data");
    }
    match catalog.listing() {
        Listing::Hidden => answer.error(rep::ERR_POLICY, "exports are not listed here"),
        Listing::Shown => catalog.exports().iter().fold(answer, server).ack(),
    }
}

fn server(answer: Answer, export: &Export) -> Answer {
    let name = export.name.as_str().as_bytes();
    let length = u32::try_from(name.len()).expect("a name has at most 4,096 bytes");
    answer.add(rep::SERVER, &[&length.to_be_bytes(), name, export.description.as_bytes()])
}

/// What `NBD_OPT_INFO` and `NBD_OPT_GO` have in common; with the export if the client may have it.
fn inform<'a>(agreed: &mut Agreed, catalog: &'a Catalog, answer: Answer, data: &[u8]) -> (Vec<u8>, Option<(ExportIndex, &'a Export)>) {
    let Some((name, wanted)) = parse(data) else {
        return (answer.error(rep::ERR_INVALID, "expected the name of an export and a list of what is asked about it"), None);
    };
    let Some((index, export)) = catalog.find(name) else {
        return (answer.error(rep::ERR_UNKNOWN, "there is no such export"), None);
    };
    let flags = export.flags(agreed.structured).to_be_bytes();
    let mut answer = answer.add(rep::INFO, &[&info::EXPORT.to_be_bytes(), &export.size.0.to_be_bytes(), &flags]);
    let asked = |kind| wanted.contains(&kind);
    if asked(info::NAME) {
        answer = answer.add(rep::INFO, &[&info::NAME.to_be_bytes(), export.name.as_str().as_bytes()]);
    }
    if asked(info::DESCRIPTION) && !export.description.is_empty() {
        answer = answer.add(rep::INFO, &[&info::DESCRIPTION.to_be_bytes(), export.description.as_bytes()]);
    }
    let untold = export.blocks.must_be_told() && agreed.blocks_told != Some(index);
    if asked(info::BLOCK_SIZE) || untold {
        let blocks = [export.blocks.minimum(), export.blocks.preferred(), export.blocks.maximum()].map(u32::to_be_bytes);
        answer = answer.add(rep::INFO, &[&info::BLOCK_SIZE.to_be_bytes(), blocks.as_flattened()]);
    }
    if asked(info::BLOCK_SIZE) {
        agreed.blocks_told = Some(index);
    } else if untold {
        return (answer.error(rep::ERR_BLOCK_SIZE_REQD, "the block sizes have to be asked for, and kept to"), None);
    }
    (answer.ack(), Some((index, export)))
}

fn parse(data: &[u8]) -> Option<(&str, Vec<u16>)> {
    let mut cursor = Cursor(data);
    let name = cursor.text().filter(|name| name.len() <= STRING_MAX)?;
    let count = cursor.u16()?;
    let wanted = (0..count).map(|_| cursor.u16()).collect::<Option<Vec<_>>>()?;
    cursor.is_empty().then_some((name, wanted))
}
