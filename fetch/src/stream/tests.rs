use std::io::Cursor;

use manifests::digest::Algorithm;

use image_store::hash::digest_of;

use super::*;
use crate::progress::Silent;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Plain => bytes.to_owned(),
        Compression::Gzip => gzip(bytes),
        Compression::Bzip2 => {
            let mut e = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            e.write_all(bytes).unwrap();
            e.finish().unwrap()
        }
        Compression::Xz => include_bytes!("../../tests/data/hello.xz").to_vec(),
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn stream(packed: &[u8]) -> Result<Vec<u8>, StreamError> {
    let mut out = Vec::new();
    let digest = digest_of(Algorithm::Sha256, packed);
    let mut source = Verified::new(Cursor::new(packed), "x".into(), digest, packed.len() as u64);
    run(
        &mut source,
        Known::Digest,
        &mut out,
        Limits::default(),
        &Shared::default(),
        &mut Silent,
    )?;
    Ok(out)
}

#[test]
fn every_compression_is_undone() {
    let hello = b"hello, layer\n".as_slice();
    for compression in [
        Compression::Plain,
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
    ] {
        let packed = pack(compression, hello);
        assert_eq!(Compression::of(&packed), compression);
        assert_eq!(stream(&packed).unwrap(), hello, "{compression}");
    }
}

#[test]
fn members_behind_each_other_are_one_stream() {
    for compression in [Compression::Gzip, Compression::Bzip2, Compression::Zstd] {
        let packed = [pack(compression, b"one "), pack(compression, b"two")].concat();
        assert_eq!(stream(&packed).unwrap(), b"one two", "{compression}");
    }
}

#[test]
fn large_streams_pass_whole() {
    let bytes: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|i| (i / 7).to_le_bytes())
        .collect();
    assert!(stream(&gzip(&bytes)).unwrap() == bytes);
    assert!(stream(&bytes).unwrap() == bytes);
}

#[test]
fn damaged_packing_is_named() {
    let mut packed = gzip(&vec![7; 100_000]);
    let middle = packed.len() / 2;
    packed[middle] ^= 0xff;
    let error = stream(&packed).unwrap_err().to_string();
    assert!(error.starts_with("the gzip data is damaged"), "{error}");
    packed.truncate(middle);
    assert!(matches!(stream(&packed), Err(StreamError::Decode { .. })));
}

#[test]
fn a_wrong_digest_wins_over_what_it_breaks() {
    let good = gzip(&vec![7; 100_000]);
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0xff;
    let digest = digest_of(Algorithm::Sha256, &good);
    let mut source = Verified::new(bad.as_slice(), "x".into(), digest, good.len() as u64);
    let result = run(
        &mut source,
        Known::Digest,
        &mut io::sink(),
        Limits::default(),
        &Shared::default(),
        &mut Silent,
    );
    let error = result.unwrap_err().to_string();
    assert!(error.contains("damaged or forged"), "{error}");
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let packed = zstd::encode_all(io::repeat(0).take(64 << 20), 1).unwrap();
    let limits = Limits {
        undeclared: u64::MAX,
        floor: 1 << 20,
        ratio: 10,
    };
    let mut sink = Vec::new();
    let result = run(
        &mut packed.as_slice(),
        Known::Digest,
        &mut sink,
        limits,
        &Shared::default(),
        &mut Silent,
    );
    assert!(
        matches!(result, Err(StreamError::Bomb { .. })),
        "{result:?}"
    );
    assert!(sink.len() < 4 << 20);
}

/// A disk with room for one byte.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_does_not_keep_an_endless_source_running() {
    let result = run(
        &mut io::repeat(7),
        Known::Digest,
        &mut Full,
        Limits::default(),
        &Shared::default(),
        &mut Silent,
    );
    let Err(StreamError::Sink(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn cancelling_ends_a_stream() {
    let shared = Shared::default();
    shared.cancel();
    let result = run(
        &mut io::repeat(7),
        Known::Digest,
        &mut io::sink(),
        Limits::default(),
        &shared,
        &mut Silent,
    );
    assert!(matches!(result, Err(StreamError::Cancelled)));
}

/// Where nobody said how much will come, something ends it.
#[test]
fn an_endless_source_is_given_up() {
    let limits = Limits {
        undeclared: 10 << 20,
        ..Limits::default()
    };
    let result = run(
        &mut io::repeat(0),
        Known::Nothing,
        &mut io::sink(),
        limits,
        &Shared::default(),
        &mut Silent,
    );
    assert!(matches!(result, Err(StreamError::Endless(_))));
}
