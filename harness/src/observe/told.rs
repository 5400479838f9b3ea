//! Whether a watch has told all that happened up to a moment. No I/O.
//!
//! A watch that is idle and one that is dead say the same: nothing. What happened meanwhile is told late, when the dead one
//! is resumed, since a watch goes on from the last version that it told; and if that is behind the load's end, nobody counts
//! it. So now and then, and always before the load ends, the objects are listed: the API server answers with what is there
//! at that moment, and each object's version. Versions change with every change. When the watch has told each of these
//! versions, or a later one, and that what is not listed is gone, it has told every change of them up to the list; one that
//! was unready for a moment has another version than before. If it has not told them soon, it is taken for dead: from the
//! last list that it had told all of, nothing is known.
//!
//! What was made and is gone again between two lists is in neither; nothing is concluded from an object that never was
//! there for long enough to be seen.

use std::collections::BTreeMap;

/// The versions of objects, by their names.
pub(super) type Versions = BTreeMap<String, String>;

/// What a list said, and the watch has not told yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// When the list was asked for.
    pub(super) asked: f64,
    /// Each with the version that it must have told at the least.
    there: Versions,
    /// Each with the version that it had before it went.
    gone: Versions,
}

impl Pending {
    /// Compares a list with what the watch has told.
    pub(super) fn of(asked: f64, listed: Versions, told: &Versions) -> Self {
        let gone = told.iter().filter(|(name, _)| !listed.contains_key(*name));
        let gone = gone.map(|(name, version)| (name.clone(), version.clone())).collect();
        let mut pending = Self { asked, there: listed, gone };
        pending.tell(told);
        pending
    }

    /// Takes in what the watch has told by now; whether it is all.
    pub(super) fn tell(&mut self, told: &Versions) -> bool {
        self.there.retain(|name, wanted| !told.get(name).is_some_and(|told| reached(told, wanted)));
        // It may have gone, and another one of its name may have come.
        self.gone.retain(|name, last| told.get(name) == Some(last));
        self.there.is_empty() && self.gone.is_empty()
    }

    /// It has told an object's end: whatever of it was pending is settled by that.
    pub(super) fn ended(&mut self, name: &str) {
        self.there.remove(name);
        self.gone.remove(name);
    }

    /// What it has not told, for a message.
    pub(super) fn missing(&self) -> String {
        let names: Vec<&str> = self.there.keys().chain(self.gone.keys()).map(String::as_str).collect();
        match names[..] {
            [one] => one.to_owned(),
            [first, ..] => format!("{first} and {} more", names.len() - 1),
            [] => "nothing".to_owned(),
        }
    }
}

/// Whether a version is the wanted one, or a later one. They are numbers, though they need not be.
fn reached(told: &str, wanted: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    told == wanted || number(told).zip(number(wanted)).is_some_and(|(told, wanted)| told >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of: &[(&str, &str)]) -> Versions {
        of.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn all_is_told_when_each_version_is_or_a_later_one() {
        let mut told = versions(&[("a", "9"), ("b", "4")]);
        let listed = || versions(&[("a", "9"), ("b", "4")]);
        assert!(Pending::of(1.0, listed(), &told).tell(&told), "nothing happened");

        let mut pending = Pending::of(1.0, versions(&[("a", "9"), ("b", "12")]), &told);
        assert!(!pending.tell(&told), "b was unready for a moment, perhaps");
        assert_eq!(pending.missing(), "b");
        told.insert("b".to_owned(), "11".to_owned());
        assert!(!pending.tell(&told), "what is between the two may be the moment");
        told.insert("b".to_owned(), "13".to_owned());
        assert!(pending.tell(&told), "in order, so 12 is behind it");
    }

    #[test]
    fn what_went_or_came_must_be_told() {
        let mut told = versions(&[("a", "9")]);
        let mut pending = Pending::of(1.0, versions(&[("b", "12")]), &told);
        assert_eq!(pending.missing(), "b and 1 more");
        told.insert("b".to_owned(), "12".to_owned());
        assert!(!pending.tell(&told), "a is gone, and the watch does not know");
        told.remove("a");
        assert!(pending.tell(&told));

        let mut pending = Pending::of(1.0, versions(&[("b", "14")]), &told);
        told.remove("b");
        pending.ended("b");
        assert!(pending.tell(&told), "it went before its 14th version was told");
        assert!(!reached("x", "y") && reached("x", "x"), "versions need not be numbers");
    }
}
