//! Ledgers on a disk that is torn, full or damaged.

use super::*;
use proptest::prelude::*;
use spanproof_ledger::{EmitterRecord, Range};

fn reserved(start: u64) -> EmitterRecord {
    EmitterRecord::Reserved { range: Range::new(start, start + 100) }
}

#[test]
fn whole_records_are_kept_and_a_torn_tail_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emit.ledger");
    let (mut ledger, records) = LedgerFile::<EmitterRecord>::open(&path).unwrap();
    assert!(records.is_empty());
    ledger.append(&reserved(0), true).unwrap();
    ledger.append(&reserved(1), false).unwrap();
    drop(ledger);

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (mut ledger, records) = LedgerFile::<EmitterRecord>::open(&path).unwrap();
    assert_eq!(records, [reserved(0)]);
    ledger.append(&reserved(1), false).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole, "the torn tail gave way to the new record");
}

#[test]
fn many_records_are_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let (one, all) = (dir.path().join("one"), dir.path().join("all"));
    let records: Vec<_> = (0..100).map(reserved).collect();
    let mut ledger = LedgerFile::<EmitterRecord>::open(&one).unwrap().0;
    for record in &records {
        ledger.append(record, false).unwrap();
    }
    LedgerFile::open(&all).unwrap().0.append_all(&records, false).unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&all).unwrap());
    assert_eq!(LedgerFile::<EmitterRecord>::open(&all).unwrap().1, records);
}

#[test]
fn another_kind_of_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sink.ledger");
    drop(LedgerFile::<spanproof_ledger::SinkRecord>::open(&path).unwrap());
    let before = std::fs::read(&path).unwrap();
    let refused = LedgerFile::<EmitterRecord>::open(&path).unwrap_err().to_string();
    assert!(refused.contains("sink.ledger") && refused.contains("not a ledger of kind"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "and left as it is");
}

#[test]
fn damage_is_reported_with_file_and_offset_and_left_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emit.ledger");
    let mut ledger = LedgerFile::<EmitterRecord>::open(&path).unwrap().0;
    let first = ledger.whole;
    ledger.append_all(&[reserved(0), reserved(1)], false).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(first).unwrap() + 9] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = LedgerFile::<EmitterRecord>::open(&path).unwrap_err().to_string();
    assert!(refused.contains("emit.ledger: damaged at offset 6"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = LedgerFile::<EmitterRecord>::open(dir.path()).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("open {}", dir.path().display())), "{refused}");
}

/// A disk with limited space, which is filled before a write fails.
#[derive(Debug, Default)]
struct Small {
    bytes: Vec<u8>,
    room: usize,
    cuts_fail: bool,
    syncs_fail: bool,
}

impl Disk for Small {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(self.room - self.bytes.len());
        self.bytes.extend(&bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.cuts_fail {
            return Err(io::Error::other("it cannot be cut"));
        }
        self.bytes.truncate(usize::try_from(length).unwrap());
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.syncs_fail { Err(io::Error::other("it cannot be synced")) } else { Ok(()) }
    }
}

fn small(room: usize) -> LedgerFile<EmitterRecord, Small> {
    let bytes = log::header::<EmitterRecord>().to_vec();
    let whole = bytes.len() as u64;
    LedgerFile::on(Small { bytes, room, ..Small::default() }, Path::new("small.ledger"), whole)
}

fn records(ledger: &LedgerFile<EmitterRecord, Small>) -> Vec<EmitterRecord> {
    let decoded = log::decode(&ledger.disk.bytes).unwrap();
    assert_eq!(decoded.whole, ledger.whole);
    decoded.records
}

#[test]
fn a_full_disk_leaves_no_partial_record() {
    for room in 6..60 {
        let mut ledger = small(room);
        let written = (0..9).take_while(|n| ledger.append(&reserved(*n), true).is_ok()).count() as u64;
        let refused = ledger.append(&reserved(written), false).unwrap_err().to_string();
        assert!(refused.starts_with("write small.ledger: "), "{refused}");
        assert_eq!(ledger.disk.bytes.len() as u64, ledger.whole, "what fitted was cut off again");
        ledger.disk.room += 100;
        ledger.append(&reserved(written), false).unwrap();
        assert_eq!(records(&ledger), (0..=written).map(reserved).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_written_after_a_partial_record_that_cannot_be_cut_off() {
    let mut ledger = small(20);
    ledger.disk.cuts_fail = true;
    ledger.append_all(&[reserved(0), reserved(1)], false).unwrap_err();
    ledger.disk.room += 100;
    let refused = ledger.append(&reserved(0), false).unwrap_err().to_string();
    assert!(refused.starts_with("cut what a failed write left of small.ledger"), "{refused}");
    assert_eq!(ledger.disk.bytes.len(), 20);
    ledger.disk.cuts_fail = false;
    ledger.append(&reserved(7), false).unwrap();
    assert_eq!(records(&ledger), [reserved(7)]);
}

#[test]
fn nothing_is_written_after_a_failed_sync() {
    let mut ledger = small(200);
    ledger.disk.syncs_fail = true;
    ledger.append(&reserved(0), false).unwrap();
    ledger.append(&reserved(1), true).unwrap_err();
    ledger.disk.syncs_fail = false;
    let refused = ledger.append(&reserved(2), true).unwrap_err().to_string();
    assert!(refused.starts_with("sync small.ledger: it failed before"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1024),
        ..ProptestConfig::default()
    })]

    /// A damaged file is opened with a prefix of the records written and can be continued, or it is refused and left
    /// unchanged.
    #[test]
    fn a_damaged_ledger_is_continued_from_its_whole_part_or_refused(
        count in 0u64..12,
        cut: prop::sample::Index,
        flip in prop::option::of(any::<(prop::sample::Index, u8)>()),
        tail in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..30), (0usize..60).prop_map(|n| vec![0; n])],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emit.ledger");
        let written: Vec<_> = (0..count).map(reserved).collect();
        let mut bytes = log::header::<EmitterRecord>().to_vec();
        for record in &written {
            log::encode(record, 0, &mut bytes).unwrap();
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Some((at, mask)) = flip && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        bytes.extend(tail);
        std::fs::write(&path, &bytes).unwrap();
        match LedgerFile::<EmitterRecord>::open(&path) {
            Err(_) => prop_assert_eq!(std::fs::read(&path).unwrap(), bytes),
            Ok((mut ledger, read)) => {
                prop_assert_eq!(&read, &written[..read.len()]);
                ledger.append(&reserved(99), false).unwrap();
                let again = LedgerFile::<EmitterRecord>::open(&path).unwrap().1;
                prop_assert_eq!(again, [read, vec![reserved(99)]].concat());
            }
        }
    }
}
