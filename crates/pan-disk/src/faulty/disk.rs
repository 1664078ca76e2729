//! The faulty disk itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dice::Dice;
use super::file::File;
use crate::{Fault, Medium, Name};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Bytes the disk has room for.
    pub capacity: u64,
    /// After so many further operations that change something the power is gone: everything fails until
    /// [`FaultyDisk::lose_power`].
    pub power_for: Option<u64>,
    /// After so many further operations that change something each fails, as a broken disk does.
    pub works_for: Option<u64>,
    /// After so many further operations that change something there is no room for so many, also where something is written over: a file system
    /// that copies on write, or one that others fill and empty.
    pub full_for: Option<(u64, u64)>,
    /// After so many further reads so many fail, as those of a disk that is away for a moment do.
    pub unread_for: Option<(u64, u64)>,
    /// Every sync says that it was done, and was not.
    pub lies: bool,
}

/// Whether an operation may be one for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Needed,
    Not,
}

impl Faults {
    /// Nothing goes wrong on a disk that is large enough.
    pub const NONE: Self = Self { capacity: u64::MAX, power_for: None, works_for: None, full_for: None, unread_for: None, lies: false };
}

#[derive(Debug, Clone)]
struct Inner {
    files: BTreeMap<Name, File>,
    /// Files that were removed, but whose name may come back.
    ghosts: BTreeMap<Name, File>,
    faults: Faults,
    changes: u64,
}

/// A disk in memory. Clones are the same disk; [`copy`](Self::copy) is another one with the same content.
#[derive(Debug, Clone)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

impl Default for FaultyDisk {
    fn default() -> Self {
        let inner = Inner { files: BTreeMap::new(), ghosts: BTreeMap::new(), faults: Faults::NONE, changes: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl FaultyDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same content, durable or not.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.inner().clone())))
    }

    /// From now on these things go wrong.
    pub fn set(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// How many operations changed something since the disk was made.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.inner().faults.power_for == Some(0)
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner().used()
    }

    /// The power is lost and comes back; nothing goes wrong after that until [`set`](Self::set) is called. What was not synced is
    /// there in part, in any order, torn at sectors.
    pub fn lose_power(&self, dice: &mut Dice) {
        let mut inner = self.inner();
        inner.faults = Faults { capacity: inner.faults.capacity, ..Faults::NONE };
        for (name, ghost) in std::mem::take(&mut inner.ghosts) {
            if dice.once_in(2) {
                inner.files.entry(name).or_insert(ghost);
            }
        }
        inner.files.retain(|_, file| {
            let kept = file.named || dice.once_in(2);
            file.named = true;
            kept
        });
        inner.files.values_mut().for_each(|file| file.lose_power(dice));
    }

    /// Turns over one bit of a file.
    pub fn flip(&self, name: Name, offset: u64, bit: u8) {
        if let Some(file) = self.inner().files.get_mut(&name) {
            file.flip(offset, bit);
        }
    }

    /// Puts a file there, durable.
    pub fn put(&self, name: Name, bytes: &[u8]) {
        let mut file = File::default();
        file.named = true;
        file.write(0, bytes);
        file.sync();
        self.inner().files.insert(name, file);
    }

    /// What is in a file now.
    #[must_use]
    pub fn content(&self, name: Name) -> Vec<u8> {
        let inner = self.inner();
        let Some(file) = inner.files.get(&name) else { return Vec::new() };
        let mut bytes = vec![0; file.now.length() as usize];
        file.now.read(0, &mut bytes);
        bytes
    }
}

impl Inner {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.now.pages() * 4096).sum()
    }

    /// Counts an operation that changes something, and refuses it if the disk is gone.
    fn change(&mut self, room: Room) -> Result<(), Fault> {
        self.changes += 1;
        let gone = |left: &mut Option<u64>| match left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if gone(&mut self.faults.power_for) {
            return Err(Fault::Failed("the power is gone".into()));
        }
        if gone(&mut self.faults.works_for) {
            return Err(Fault::Failed("input/output error".into()));
        }
        match &mut self.faults.full_for {
            Some((after @ 1.., _)) => *after -= 1,
            Some((0, long @ 1..)) => {
                *long -= 1;
                if room == Room::Needed {
                    return Err(Fault::Full);
                }
            }
            Some((0, 0)) | None => {}
        }
        Ok(())
    }
}

impl Medium for FaultyDisk {
    fn read_at(&self, name: Name, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let mut inner = self.inner();
        if inner.faults.power_for == Some(0) {
            return Err(Fault::Failed("the power is gone".into()));
        }
        match &mut inner.faults.unread_for {
            Some((after @ 1.., _)) => *after -= 1,
            Some((0, long @ 1..)) => {
                *long -= 1;
                return Err(Fault::Failed("input/output error".into()));
            }
            Some((0, 0)) | None => {}
        }
        match inner.files.get(&name) {
            Some(file) => file.now.read(offset, into),
            None => into.fill(0),
        }
        Ok(())
    }

    fn write_at(&self, name: Name, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut inner = self.inner();
        inner.change(Room::Needed)?;
        let wanted = inner.files.get(&name).map_or(bytes.len() as u64 / 4096 + 2, |file| file.now.wanted(offset, bytes.len() as u64));
        // A loss of power may bring back more than there is room for; what is written over needs no room.
        if wanted > 0 && inner.used().saturating_add(wanted * 4096) > inner.faults.capacity {
            return Err(Fault::Full);
        }
        inner.files.entry(name).or_default().write(offset, bytes);
        Ok(())
    }

    fn sync(&self, name: Name) -> Result<(), Fault> {
        let mut inner = self.inner();
        inner.change(Room::Not)?;
        if !inner.faults.lies
            && let Some(file) = inner.files.get_mut(&name)
        {
            file.sync();
        }
        Ok(())
    }

    fn punch(&self, name: Name, offset: u64, length: u64) -> Result<(), Fault> {
        let mut inner = self.inner();
        inner.change(Room::Needed)?;
        if let Some(file) = inner.files.get_mut(&name) {
            file.punch(offset, length);
        }
        Ok(())
    }

    fn length(&self, name: Name) -> Result<u64, Fault> {
        Ok(self.inner().files.get(&name).map_or(0, |file| file.now.length()))
    }

    fn remove(&self, name: Name) -> Result<(), Fault> {
        let mut inner = self.inner();
        inner.change(Room::Not)?;
        if let Some(file) = inner.files.remove(&name) {
            inner.ghosts.insert(name, file);
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<Name>, Fault> {
        Ok(self.inner().files.keys().copied().collect())
    }

    fn sync_names(&self) -> Result<(), Fault> {
        let mut inner = self.inner();
        inner.change(Room::Not)?;
        if !inner.faults.lies {
            inner.ghosts.clear();
            inner.files.values_mut().for_each(|file| file.named = true);
        }
        Ok(())
    }
}
