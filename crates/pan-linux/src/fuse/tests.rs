//! The protocol without a kernel: what requests lead to, and that no bytes lead to a panic.

use proptest::prelude::*;

use super::abi;
use super::file::FILE_NODE;
use super::*;

const SIZE: u64 = 1 << 20;

fn file() -> TheFile {
    TheFile { name: "disk".into(), size: SIZE, block: 4096 }
}

/// A request with a header of the right length.
fn request(operation: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&u32::try_from(abi::IN_HEADER + body.len()).unwrap().to_ne_bytes());
    bytes.extend_from_slice(&operation.to_ne_bytes());
    bytes.extend_from_slice(&7_u64.to_ne_bytes());
    bytes.extend_from_slice(&node.to_ne_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(body);
    bytes
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn write(offset: u64, data: &[u8]) -> Vec<u8> {
    let mut body = words(&[0, offset, data.len() as u64, 0, 0]);
    body.extend_from_slice(data);
    request(abi::WRITE, FILE_NODE, &body)
}

fn step(bytes: &[u8]) -> Step {
    file().step(&Request::decode(bytes).unwrap())
}

/// The error in a reply, as a positive number; 0 for none.
fn errno(step: &Step) -> i32 {
    let Step::Answer(reply) = step else { panic!("{step:?} is no answer") };
    let bytes = reply.bytes();
    assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
    assert_eq!(bytes[8..16], 7_u64.to_ne_bytes());
    -i32::from_ne_bytes(bytes[4..8].try_into().unwrap())
}

#[test]
fn every_request_leads_to_what_it_should() {
    let extent = |offset, bytes| Extent { offset, bytes };
    let read = |offset: u64, bytes: u64| step(&request(abi::READ, FILE_NODE, &words(&[0, offset, bytes, 0, 0])));
    assert_eq!(read(4096, 8192), Step::Read(extent(4096, 8192)));
    assert_eq!(read(SIZE - 512, 4096), Step::Read(extent(SIZE - 512, 512)), "cut off at the end");
    assert_eq!(errno(&read(SIZE, 4096)), 0, "nothing there");
    assert_eq!(step(&write(512, &[1; 700])), Step::Write(extent(512, 700)));
    assert_eq!(errno(&step(&write(SIZE - 1, &[1; 2]))), libc::ENOSPC, "never larger than it is");
    assert_eq!(errno(&step(&write(u64::MAX, &[1; 2]))), libc::ENOSPC);
    assert_eq!(step(&request(abi::FSYNC, FILE_NODE, &words(&[0, 0]))), Step::Flush);
    let allocate = |offset, bytes, mode| step(&request(abi::FALLOCATE, FILE_NODE, &words(&[0, offset, bytes, mode])));
    assert_eq!(allocate(0, 4096, 3), Step::Discard(extent(0, 4096)));
    assert_eq!(allocate(0, 4096, 0x11), Step::Zero(extent(0, 4096)));
    assert_eq!(errno(&allocate(0, 4096, 0)), libc::EOPNOTSUPP, "plain allocation");
    assert_eq!(errno(&allocate(SIZE, 1, 3)), libc::ENOSPC);
    let truncate = [words(&[u64::from(abi::FATTR_SIZE), 0, 0]), vec![0; 64]].concat();
    assert_eq!(errno(&step(&request(abi::SETATTR, FILE_NODE, &truncate))), libc::EPERM);
    assert_eq!(errno(&step(&request(abi::LOOKUP, abi::ROOT_NODE, b"disk\0"))), 0);
    assert_eq!(errno(&step(&request(abi::LOOKUP, abi::ROOT_NODE, b"other\0"))), libc::ENOENT);
    assert_eq!(errno(&step(&request(abi::LOOKUP, FILE_NODE, b"disk\0"))), libc::ENOENT);
    assert_eq!(errno(&step(&request(abi::OPEN, FILE_NODE, &words(&[0])))), 0);
    assert_eq!(errno(&step(&request(abi::OPEN, abi::ROOT_NODE, &words(&[0])))), libc::EISDIR);
    for asked in [abi::GETATTR, abi::STATFS, abi::RELEASE] {
        assert_eq!(errno(&step(&request(asked, FILE_NODE, &words(&[0, 0, 0])))), 0);
    }
    for ignored in [abi::FORGET, abi::BATCH_FORGET, abi::INTERRUPT] {
        assert_eq!(step(&request(ignored, FILE_NODE, &words(&[0, 0]))), Step::Nothing);
    }
    assert_eq!(step(&request(abi::DESTROY, 0, &[])), Step::End);
    for unknown in [25, 46, 9999] {
        assert_eq!(errno(&step(&request(unknown, FILE_NODE, &words(&[0, 0])))), libc::ENOSYS, "FLUSH, LSEEK and no operation");
    }
}

#[test]
fn replies_have_the_kernels_layouts() {
    let length = |bytes: &[u8]| {
        let Step::Answer(reply) = step(bytes) else { panic!() };
        reply.bytes().len() - abi::OUT_HEADER
    };
    assert_eq!(length(&request(abi::LOOKUP, 1, b"disk\0")), 128, "fuse_entry_out");
    assert_eq!(length(&request(abi::GETATTR, 2, &[])), 104, "fuse_attr_out");
    assert_eq!(length(&request(abi::OPEN, 2, &[])), 16, "fuse_open_out");
    assert_eq!(length(&request(abi::STATFS, 2, &[])), 80, "fuse_statfs_out");
}

#[test]
fn bytes_that_are_no_request_are_refused_by_name() {
    assert_eq!(Request::decode(&[0; 39]), Err(BadRequest::Headless(39)));
    let mut longer = request(abi::FSYNC, FILE_NODE, &words(&[0, 0]));
    longer.push(0);
    assert!(matches!(Request::decode(&longer), Err(BadRequest::Length { unique: 7, found: 57, .. })));
    let cut = request(abi::READ, FILE_NODE, &words(&[0, 0]));
    assert_eq!(Request::decode(&cut), Err(BadRequest::Body { unique: 7, operation: abi::READ }));
    let lies = request(abi::WRITE, FILE_NODE, &words(&[0, 0, 99, 0, 0, 0]));
    assert_eq!(Request::decode(&lies), Err(BadRequest::Body { unique: 7, operation: abi::WRITE }), "says 99 bytes, has 8");
    let endless = request(abi::LOOKUP, 1, b"disk");
    assert_eq!(Request::decode(&endless), Err(BadRequest::Body { unique: 7, operation: abi::LOOKUP }));
    let resent = {
        let mut bytes = write(0, &[1]);
        bytes[15] |= 0x80;
        bytes
    };
    assert!(Request::decode(&resent).unwrap().resent() && !Request::decode(&write(0, &[1])).unwrap().resent());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), operation in 0_u32..60, header in any::<bool>()) {
        let bytes = if header { request(operation, 2, &bytes) } else { bytes };
        let step = Request::decode(&bytes).map(|request| file().step(&request));
        if let Ok(Step::Read(extent) | Step::Write(extent) | Step::Discard(extent) | Step::Zero(extent)) = step {
            prop_assert!(extent.bytes > 0 && extent.offset.checked_add(extent.bytes).is_some_and(|end| end <= SIZE));
        }
        let _ = Terms::decode(&bytes);
    }

    #[test]
    fn writes_come_out_as_they_went_in(offset in 0..SIZE / 2, data in prop::collection::vec(any::<u8>(), 1..5000)) {
        let bytes = write(offset, &data);
        let decoded = Request::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.call, Call::Write { offset, data: &data });
        for cut in 0..bytes.len().min(100) {
            prop_assert!(Request::decode(&bytes[..cut]).is_err());
        }
    }
}
