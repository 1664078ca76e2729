//! Dialogues: what a client sends, then everything the server said and was asked to do, byte for byte.
//!
//! Each file of `tests/dialogues` is a script, a line of dashes, and the expected log. With `UPDATE_GOLDEN=1` in the
//! environment the logs are written anew, to be read in the diff.
//!
//! A script begins with exports: `export NAME BYTES [ro] [multi] [rotational] [blocks MIN PREFERRED MAX] [about TEXT]`, and
//! perhaps `hidden`. Then the client: `flags N`, `option NUMBER FIELD…`, `go|info NAME KIND…`, `context NUMBER NAME QUERY…`,
//! `request FLAGS COMMAND COOKIE OFFSET LENGTH`, `bytes FIELD…`, where a field is `text:…`, `u16:…`, `u32:…`, `fill:COUNT` or hex.
//! And the server: `answer REQUEST done`, `… failed CODE [at OFFSET] MESSAGE`, `… pieces data:N|hole:N…`,
//! `… stretches data|zeroes|hole:N…`, `shutdown`. A name `-` is the empty one.
//!
//! In the log, `S` is what the server sent, with its fields apart, and `>` is what it was asked to do.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a test reads its dialogues; the crate reads nothing")]

mod peer;

use std::fmt::Write;
use std::path::Path;

use pan_nbd::{Access, BlockSizes, Connections, ErrorCode, Export, Failure, Listing, Medium, Piece, State, Stretch};
use peer::{AnyTicket, Event, Server, client, export};

fn fields(words: &[&str]) -> Vec<u8> {
    let field = |word: &&str| match word.split_once(':') {
        Some(("text", text)) => text.as_bytes().to_vec(),
        Some(("u16", number)) => number.parse::<u16>().unwrap().to_be_bytes().to_vec(),
        Some(("u32", number)) => number.parse::<u32>().unwrap().to_be_bytes().to_vec(),
        Some(("fill", count)) => vec![0x5a; count.parse().unwrap()],
        Some(_) => panic!("unknown field {word:?}"),
        None => (0..word.len()).step_by(2).map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap()).collect(),
    };
    words.iter().flat_map(field).collect()
}

fn name(word: &str) -> &str {
    if word == "-" { "" } else { word }
}

fn number(word: &str) -> u64 {
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => word.parse().unwrap(),
    }
}

fn short(word: &str) -> u16 {
    u16::try_from(number(word)).unwrap()
}

fn parse_export(words: &[&str]) -> Export {
    let mut export = export(name(words[0]), number(words[1]));
    let mut rest = words[2..].iter();
    while let Some(word) = rest.next() {
        match *word {
            "ro" => export.access = Access::ReadOnly,
            "multi" => export.connections = Connections::Many,
            "rotational" => export.medium = Medium::Rotational,
            "blocks" => {
                let mut size = || u32::try_from(number(rest.next().unwrap())).unwrap();
                export.blocks = BlockSizes::new(size(), size(), size()).unwrap();
            }
            "about" => export.description = rest.by_ref().copied().collect::<Vec<_>>().join(" "),
            other => panic!("unknown property {other:?}"),
        }
    }
    export
}

/// What the client of one script line sends; `None` if the line is the server's.
fn sent(words: &[&str]) -> Option<Vec<u8>> {
    let shorts = |words: &[&str]| words.iter().map(|word| short(word)).collect::<Vec<_>>();
    let whole = |word: &str| u32::try_from(number(word)).unwrap();
    Some(match words[0] {
        "flags" => whole(words[1]).to_be_bytes().to_vec(),
        "option" => client::option(whole(words[1]), &fields(&words[2..])),
        "go" => client::go(7, name(words[1]), &shorts(&words[2..])),
        "info" => client::go(6, name(words[1]), &shorts(&words[2..])),
        "context" => client::context(whole(words[1]), name(words[2]), &words[3..]),
        "request" => client::request(short(words[1]), short(words[2]), number(words[3]), number(words[4]), whole(words[5])),
        "bytes" => fields(&words[1..]),
        _ => return None,
    })
}

fn failure(words: &[&str]) -> Failure {
    let code = match words[0] {
        "io" => ErrorCode::Io,
        "perm" => ErrorCode::NotPermitted,
        "nospace" => ErrorCode::NoSpace,
        "notsup" => ErrorCode::NotSupported,
        other => panic!("unknown error {other:?}"),
    };
    match words[1] {
        "at" => Failure { at: Some(number(words[2])), ..Failure::new(code, words[3..].join(" ")) },
        _ => Failure::new(code, words[1..].join(" ")),
    }
}

fn lengths<'a>(words: &'a [&'a str]) -> impl Iterator<Item = (&'a str, u32)> {
    words.iter().map(|word| word.split_once(':').unwrap()).map(|(kind, length)| (kind, length.parse().unwrap()))
}

fn answer(server: &mut Server, words: &[&str]) {
    let ticket = server.tickets[words[0].parse::<usize>().unwrap() - 1].take().unwrap();
    let data: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let (reply, data) = match (ticket, words[1]) {
        (AnyTicket::Plain(ticket), "done") => (ticket.done(), &[][..]),
        (AnyTicket::Plain(ticket), "failed") => (ticket.failed(&failure(&words[2..])), &[][..]),
        (AnyTicket::Read(ticket), "failed") => (ticket.failed(&failure(&words[2..])), &[][..]),
        (AnyTicket::Status(ticket), "failed") => (ticket.failed(&failure(&words[2..])), &[][..]),
        (AnyTicket::Read(ticket), "pieces") => {
            let pieces: Vec<Piece> =
                lengths(&words[2..]).map(|(kind, length)| if kind == "data" { Piece::Data(length) } else { Piece::Hole(length) }).collect();
            (ticket.pieces(&pieces), &data[..])
        }
        (AnyTicket::Status(ticket), "stretches") => {
            let state = |kind| match kind {
                "data" => State::Data,
                "zeroes" => State::Zeroes,
                _ => State::Hole,
            };
            let stretches: Vec<Stretch> = lengths(&words[2..]).map(|(kind, length)| Stretch { length, state: state(kind) }).collect();
            (ticket.stretches(&stretches), &[][..])
        }
        (ticket, how) => panic!("{ticket:?} cannot be answered by {how:?}"),
    };
    server.answer(&reply, data);
}

/// The fields of what a server sends, by the magic number each message begins with; data as hex and, where it is one, text.
fn dissect(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let magic = bytes.iter().take(4).fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let long = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (layout, data): (&[usize], usize) = match magic {
            0x4e42_444d => (&[8, 8, 2], 0),
            0x0003_e889 => (&[8, 4, 4, 4], long(16)),
            0x6744_6698 => (&[4, 4, 8], bytes.len() - 16),
            0x668e_33ef => (&[4, 2, 2, 8, 4], long(16)),
            _ => (&[8, 2], bytes.len() - 10),
        };
        let mut line = String::from("S");
        for length in layout {
            let (field, rest) = bytes.split_at(*length);
            write!(line, " {}", hex(field)).unwrap();
            bytes = rest;
        }
        let (data, rest) = bytes.split_at(data);
        bytes = rest;
        if !data.is_empty() {
            let shown = &data[..data.len().min(32)];
            let more = if shown.len() < data.len() { format!("… {} bytes", data.len()) } else { String::new() };
            write!(line, " | {}{more}", hex(shown)).unwrap();
        }
        let text: String = data.iter().map(|byte| *byte as char).filter(|character| (' '..='~').contains(character)).collect();
        if data.len() < 256 && text.len() > 3 && text.len() + 20 > data.len() {
            write!(line, " {text:?}").unwrap();
        }
        lines.push(line);
    }
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn play(script: &str) -> String {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let (head, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| ["export", "hidden"].contains(&line[0]));
    let exports = head.iter().filter(|line| line[0] == "export").map(|line| parse_export(&line[1..])).collect();
    let hidden = head.iter().any(|line| line[0] == "hidden");
    let mut server = Server::new(exports, if hidden { Listing::Hidden } else { Listing::Shown });
    let mut log = String::new();
    say(&mut log, &mut server);
    for line in lines {
        writeln!(log, "\n{}", line.join(" ")).unwrap();
        match (sent(&line), line[0]) {
            (Some(bytes), _) => server.feed(&bytes),
            (None, "answer") => answer(&mut server, &line[1..]),
            (None, "shutdown") => server.shut_down(),
            (None, other) => panic!("unknown verb {other:?}"),
        }
        say(&mut log, &mut server);
    }
    log
}

fn say(log: &mut String, server: &mut Server) {
    for event in std::mem::take(&mut server.events) {
        match event {
            Event::Sent(bytes) => dissect(&bytes).iter().for_each(|line| writeln!(log, "{line}").unwrap()),
            Event::Begun(export) => writeln!(log, "> transmission of export {export}").unwrap(),
            Event::Asked(text) => writeln!(log, "> {text}").unwrap(),
            Event::Payload(bytes) => writeln!(log, "> {} bytes of payload", bytes.len()).unwrap(),
            Event::Ended(ended) => writeln!(log, "> end: {ended}").unwrap(),
        }
    }
}

fn check(file: &Path) -> Result<(), String> {
    const LINE: &str = "\n----\n";
    let text = std::fs::read_to_string(file).unwrap();
    let (script, expected) = text.split_once(LINE).unwrap_or((&text, ""));
    let log = play(script);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, format!("{}{LINE}{log}", script.trim_end())).unwrap();
        return Ok(());
    }
    if log == expected { Ok(()) } else { Err(format!("{}: the log is now\n{log}", file.display())) }
}

#[test]
fn every_dialogue_has_the_log_it_had() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no dialogues found");
    let failures: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failures.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites them", failures.join("\n"));
}
