//! A check that a watch has delivered everything that happened up to a moment. No I/O.
//!
//! An idle watch and a dead one look alike: both are silent. Events during a dead watch are delivered late, when it is
//! resumed, since a watch goes on from the last version that it delivered; if that is after the load's end, they do not
//! count any more. So at an interval, and always before the load ends, the objects are listed: the API server answers with
//! the objects at that moment, and their versions. Every change makes a new version. When the watch has delivered each of
//! these versions or a later one, and the deletion of every object that is not listed, it has delivered every change up to
//! the list: an object that was unready for a moment has another version than before. If the watch does not catch up soon,
//! it is taken for dead: nothing is known since the last list with which it had caught up.
//!
//! An object that was created and deleted between two lists is in neither; nothing is concluded from an object that was
//! never there for long enough to be seen.

use std::collections::BTreeMap;

/// The versions of objects, by their names.
pub(super) type Versions = BTreeMap<String, String>;

/// The versions of a list that the watch has still to deliver.
#[derive(Debug)]
pub(super) struct Pending {
    /// The moment when the list was requested.
    pub(super) asked: f64,
    /// The objects that exist, with the lowest version that must be delivered.
    there: Versions,
    /// The deleted objects, with their last delivered version.
    gone: Versions,
}

impl Pending {
    /// Compares a list with what the watch has delivered.
    pub(super) fn of(asked: f64, listed: Versions, delivered: &Versions) -> Self {
        let gone = delivered.iter().filter(|(name, _)| !listed.contains_key(*name));
        let gone = gone.map(|(name, version)| (name.clone(), version.clone())).collect();
        let mut pending = Self { asked, there: listed, gone };
        pending.advance(delivered);
        pending
    }

    /// Takes in what the watch has delivered by now. Returns true if that is everything.
    pub(super) fn advance(&mut self, delivered: &Versions) -> bool {
        self.there
            .retain(|name, wanted| !delivered.get(name).is_some_and(|delivered| reached(delivered, wanted)));
        // It may have gone, and another one of its name may have come.
        self.gone.retain(|name, last| delivered.get(name) == Some(last));
        self.there.is_empty() && self.gone.is_empty()
    }

    /// Takes in the deletion of an object, which settles whatever of it was pending.
    pub(super) fn deleted(&mut self, name: &str) {
        self.there.remove(name);
        self.gone.remove(name);
    }

    /// Describes what the watch has not delivered, for a message.
    pub(super) fn missing(&self) -> String {
        let names: Vec<&str> = self.there.keys().chain(self.gone.keys()).map(String::as_str).collect();
        match names[..] {
            [one] => one.to_owned(),
            [first, ..] => format!("{first} and {} more", names.len() - 1),
            [] => "nothing".to_owned(),
        }
    }
}

/// Returns true for the wanted version or a later one. Versions are numbers, though they need not be.
fn reached(delivered: &str, wanted: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    delivered == wanted
        || number(delivered).zip(number(wanted)).is_some_and(|(delivered, wanted)| delivered >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of: &[(&str, &str)]) -> Versions {
        of.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn all_is_delivered_when_each_version_is_or_a_later_one() {
        let mut delivered = versions(&[("a", "9"), ("b", "4")]);
        let listed = || versions(&[("a", "9"), ("b", "4")]);
        assert!(Pending::of(1.0, listed(), &delivered).advance(&delivered), "nothing happened");

        let mut pending = Pending::of(1.0, versions(&[("a", "9"), ("b", "12")]), &delivered);
        assert!(!pending.advance(&delivered), "b was unready for a moment, perhaps");
        assert_eq!(pending.missing(), "b");
        delivered.insert("b".to_owned(), "11".to_owned());
        assert!(!pending.advance(&delivered), "what is between the two may be the moment");
        delivered.insert("b".to_owned(), "13".to_owned());
        assert!(pending.advance(&delivered), "in order, so 12 is behind it");
    }

    #[test]
    fn what_went_or_came_must_be_delivered() {
        let mut delivered = versions(&[("a", "9")]);
        let mut pending = Pending::of(1.0, versions(&[("b", "12")]), &delivered);
        assert_eq!(pending.missing(), "b and 1 more");
        delivered.insert("b".to_owned(), "12".to_owned());
        assert!(!pending.advance(&delivered), "a is gone, and the watch does not know");
        delivered.remove("a");
        assert!(pending.advance(&delivered));

        let mut pending = Pending::of(1.0, versions(&[("b", "14")]), &delivered);
        delivered.remove("b");
        pending.deleted("b");
        assert!(pending.advance(&delivered), "it went before its 14th version was delivered");
        assert!(!reached("x", "y") && reached("x", "x"), "versions need not be numbers");
    }
}
