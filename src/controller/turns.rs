//! Whose turn it is: how many integrations are worked on at once, and who comes first of those that wait.
//!
//! One that has to wait is not a reconcile that sleeps: the controller looks through everything that runs whenever
//! something happens, so ten thousand sleepers would cost it more than their work. It is a line in this queue instead, and
//! is reconciled when it is called. The order is that of the lanes: what people wait for, then the nearest expiry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;

use crate::api::ProviderKind;
use crate::lanes::Lane;

/// Namespace and name of an integration.
pub type Name = (String, String);

/// What an integration shares its turns with: all that use the same provider. Three quarters of the turns are the most
/// that one provider may have, so that one that is slow, or has much to do, leaves room for the others.
pub type Group = (ProviderKind, Option<String>, String);

/// The order: lane, then nearest expiry (none is last), then who came first.
type Place = (Lane, Timestamp, u64);

/// The queue; cheap to clone.
#[derive(Clone)]
pub struct Turns {
    queue: Arc<Mutex<Queue>>,
}

struct Queue {
    free: usize,
    /// The most turns of one group.
    most: usize,
    arrivals: u64,
    groups: HashMap<Group, Line>,
    places: HashMap<Name, (Group, Place)>,
    /// Those whose turn it is and who have not begun yet.
    called: HashMap<Name, Group>,
    calls: UnboundedSender<Name>,
}

/// Those of one group.
#[derive(Default)]
struct Line {
    working: usize,
    waiting: BTreeMap<Place, Name>,
}

impl Turns {
    /// Lets so many work at once, at least one. Who is called comes out of the receiver, and has to be reconciled.
    pub fn new(at_once: usize) -> (Self, UnboundedReceiver<Name>) {
        let (calls, receiver) = unbounded();
        let free = at_once.max(1);
        let queue = Queue {
            free,
            most: free.div_ceil(4) * 3,
            arrivals: 0,
            groups: HashMap::new(),
            places: HashMap::new(),
            called: HashMap::new(),
            calls,
        };
        (Self { queue: Arc::new(Mutex::new(queue)) }, receiver)
    }

    /// The turn of an integration, where it is its turn; else it waits in line, and is called.
    pub fn take(&self, name: &Name, group: Group, lane: Lane, expiry: Option<Timestamp>) -> Option<Turn> {
        let mut queue = lock(&self.queue);
        if let Some(group) = queue.called.remove(name) {
            return Some(self.turn(group));
        }
        queue.leave(name);
        queue.arrivals += 1;
        let place = (lane, expiry.unwrap_or(Timestamp::MAX), queue.arrivals);
        let (free, most) = (queue.free, queue.most);
        let own = queue.groups.entry(group.clone()).or_default();
        if free > 0 && own.working < most && own.waiting.is_empty() {
            own.working += 1;
            queue.free -= 1;
            return Some(self.turn(group));
        }
        own.waiting.insert(place, name.clone());
        queue.places.insert(name.clone(), (group, place));
        None
    }

    /// Whether somebody whose token is about to expire, or who was asked for, waits for a turn that one of this group has.
    pub fn are_wanted(&self, group: &Group) -> bool {
        let queue = lock(&self.queue);
        let waits = |line: &Line| line.waiting.first_key_value().is_some_and(|((lane, ..), _)| *lane <= Lane::Expiry);
        queue.groups.get(group).is_some_and(waits) || queue.free == 0 && queue.groups.values().any(waits)
    }

    /// An integration is gone, and with it its place in line or its turn.
    pub fn forget(&self, name: &Name) {
        let mut queue = lock(&self.queue);
        queue.leave(name);
        if let Some(group) = queue.called.remove(name) {
            queue.end(&group);
        }
    }

    fn turn(&self, group: Group) -> Turn {
        Turn { queue: Arc::clone(&self.queue), group }
    }
}

impl Queue {
    fn leave(&mut self, name: &Name) {
        if let Some((group, place)) = self.places.remove(name)
            && let Some(line) = self.groups.get_mut(&group)
        {
            line.waiting.remove(&place);
        }
    }

    /// A turn of this group has ended: the first in line is called, of those groups that may have one more.
    fn end(&mut self, group: &Group) {
        self.free += 1;
        if let Some(line) = self.groups.get_mut(group) {
            line.working -= 1;
            if line.working == 0 && line.waiting.is_empty() {
                self.groups.remove(group);
            }
        }
        let open = self.groups.iter_mut().filter(|(_, line)| line.working < self.most);
        let first = open.filter_map(|(group, line)| Some((*line.waiting.first_key_value()?.0, group, line)));
        let Some((place, group, line)) = first.min_by_key(|(place, ..)| *place) else { return };
        let Some(name) = line.waiting.remove(&place) else { return };
        line.working += 1;
        self.free -= 1;
        self.places.remove(&name);
        self.called.insert(name.clone(), group.clone());
        // Without a receiver nobody reconciles any more.
        drop(self.calls.unbounded_send(name));
    }
}

/// The right to work, until dropped.
#[must_use = "dropping the turn ends it at once"]
pub struct Turn {
    queue: Arc<Mutex<Queue>>,
    group: Group,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.queue).end(&self.group);
    }
}

/// The queue is whole after every statement that could panic, so a poisoned lock is a lock like any other.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        ("acme".to_owned(), name.to_owned())
    }

    #[allow(clippy::unnecessary_wraps)]
    fn at(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(second).unwrap())
    }

    fn called(calls: &mut UnboundedReceiver<Name>) -> Vec<String> {
        std::iter::from_fn(|| calls.try_recv().ok()).map(|(_, name)| name).collect()
    }

    fn of(provider: &str) -> Group {
        (ProviderKind::ClusterIntegrationProvider, None, provider.to_owned())
    }

    #[test]
    fn the_nearest_expiry_is_called_and_requests_before_it() {
        let (turns, mut calls) = Turns::new(1);
        let take = |who: &str, lane, expiry| turns.take(&name(who), of("slack"), lane, expiry);
        let mut turn = take("first", Lane::Expiry, at(9));
        for (who, lane, expiry) in [
            ("late", Lane::Expiry, at(30)),
            ("never", Lane::Expiry, None),
            ("soon", Lane::Expiry, at(10)),
            ("asked", Lane::Request, None),
        ] {
            assert!(take(who, lane, expiry).is_none(), "{who}");
        }
        for who in ["asked", "soon", "late", "never"] {
            drop(turn.take());
            assert_eq!(called(&mut calls), [who]);
            // Nobody else gets what is kept for who was called.
            assert!(take("other", Lane::Request, None).is_none());
            turns.forget(&name("other"));
            turn = take(who, Lane::Expiry, None);
        }
        drop(turn);
        assert!(take("again", Lane::Expiry, None).is_some());
    }

    #[test]
    fn who_asks_again_has_one_place_and_the_newer_one() {
        let (turns, mut calls) = Turns::new(1);
        let take = |who: &str, lane, expiry| turns.take(&name(who), of("slack"), lane, expiry);
        let turn = take("first", Lane::Expiry, None);
        assert!(take("a", Lane::Expiry, at(5)).is_none());
        assert!(take("b", Lane::Expiry, at(6)).is_none());
        assert!(take("b", Lane::Request, at(6)).is_none());
        drop(turn);
        assert_eq!(called(&mut calls), ["b"]);
        drop(take("b", Lane::Request, None));
        assert_eq!(called(&mut calls), ["a"]);
    }

    #[test]
    fn a_turn_is_wanted_by_those_who_cannot_wait() {
        let (turns, mut calls) = Turns::new(1);
        let take = |who: &str, lane| turns.take(&name(who), of("slack"), lane, None);
        let turn = take("first", Lane::Expiry);
        assert!(!turns.are_wanted(&of("slack")));
        assert!(take("told later", Lane::Report).is_none());
        assert!(!turns.are_wanted(&of("slack")));
        assert!(take("second", Lane::Expiry).is_none());
        assert!(turns.are_wanted(&of("slack")) && turns.are_wanted(&of("zoom")));
        drop(turn);
        assert_eq!(called(&mut calls), ["second"]);
        assert!(!turns.are_wanted(&of("slack")));
    }

    #[test]
    fn a_turn_is_not_lost_with_who_was_called() {
        let (turns, mut calls) = Turns::new(1);
        let take = |who: &str, expiry| turns.take(&name(who), of("slack"), Lane::Expiry, expiry);
        let turn = take("first", None);
        assert!(take("gone", at(5)).is_none());
        assert!(take("next", at(6)).is_none());
        drop(turn);
        assert_eq!(called(&mut calls), ["gone"]);
        turns.forget(&name("gone"));
        assert_eq!(called(&mut calls), ["next"]);
    }

    #[test]
    fn a_provider_with_much_to_do_leaves_room_for_the_others() {
        let (turns, mut calls) = Turns::new(8);
        let take = |number: i64, provider: &str| {
            turns.take(&name(&format!("{provider}-{number}")), of(provider), Lane::Expiry, at(number))
        };
        let slack: Vec<_> = (0..20).filter_map(|number| take(number, "slack")).collect();
        assert_eq!(slack.len(), 6);
        // Later, and yet at once.
        let zoom: Vec<_> = (100..110).filter_map(|number| take(number, "zoom")).collect();
        assert_eq!(zoom.len(), 2);
        drop(slack);
        assert_eq!(called(&mut calls), ["slack-6", "slack-7", "slack-8", "slack-9", "slack-10", "slack-11"]);
        drop(zoom);
        assert_eq!(called(&mut calls), ["zoom-102", "zoom-103"]);
    }
}
