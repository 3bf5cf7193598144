use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};

use super::*;

/// A second after the epoch.
fn at(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

/// Lets every spawned task run until it waits.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lanes_come_before_deadlines_and_deadlines_before_arrival() {
    let lanes = Lanes::new(1);
    let inside = lanes.enter(Lane::Health, None).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiters = [
        ("health", Lane::Health, at(1)),
        ("expiry without deadline", Lane::Expiry, None),
        ("expiry late", Lane::Expiry, at(9)),
        ("expiry soon", Lane::Expiry, at(3)),
        ("expiry soon, second", Lane::Expiry, at(3)),
        ("request", Lane::Request, None),
        ("request soon", Lane::Request, at(5)),
    ];
    let tasks: Vec<_> = waiters
        .into_iter()
        .map(|(name, lane, deadline)| {
            let (entering, order) = (lanes.enter(lane, deadline), Arc::clone(&order));
            tokio::spawn(async move {
                let _pass = entering.await;
                order.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            })
        })
        .collect();
    settle().await;
    assert_eq!(lanes.waiting(), 7);
    drop(inside);
    join_all(tasks).await;
    let order = order.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let expected = [
        "request soon",
        "request",
        "expiry soon",
        "expiry soon, second",
        "expiry late",
        "expiry without deadline",
        "health",
    ];
    assert_eq!(order, expected);
}

#[tokio::test]
async fn no_more_are_inside_than_there_are_permits() {
    let lanes = Lanes::new(3);
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let visits: FuturesUnordered<_> = (0..50)
        .map(|second| {
            let (lanes, inside, most) = (&lanes, &inside, &most);
            async move {
                let _pass = lanes.enter(Lane::Expiry, at(second)).await;
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .collect();
    visits.collect::<Vec<_>>().await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(lanes.waiting(), 0);
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_queue() {
    let lanes = Lanes::new(1);
    let inside = lanes.enter(Lane::Request, None).await;
    let mut first = Box::pin(lanes.enter(Lane::Request, at(1)));
    let mut second = Box::pin(lanes.enter(Lane::Request, at(2)));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    assert_eq!(lanes.waiting(), 1);
    drop(inside);
    assert!((&mut second).now_or_never().is_some());
}

#[tokio::test]
async fn a_permit_offered_to_one_who_leaves_goes_to_the_next() {
    let lanes = Lanes::new(1);
    let inside = lanes.enter(Lane::Request, None).await;
    let mut first = Box::pin(lanes.enter(Lane::Request, at(1)));
    assert!((&mut first).now_or_never().is_none());
    let second = tokio::spawn(lanes.enter(Lane::Request, at(2)));
    settle().await;
    // The first is woken here, and dropped without having been polled.
    drop(inside);
    drop(first);
    let entered = tokio::time::timeout(Duration::from_secs(5), second).await;
    assert!(matches!(entered, Ok(Ok(_))));
}

#[tokio::test]
async fn a_late_comer_with_a_better_place_goes_first() {
    let lanes = Lanes::new(1);
    let inside = lanes.enter(Lane::Health, None).await;
    let mut health = Box::pin(lanes.enter(Lane::Health, None));
    assert!((&mut health).now_or_never().is_none());
    drop(inside);
    let request = lanes.enter(Lane::Request, None).now_or_never();
    assert!(request.is_some());
    assert!((&mut health).now_or_never().is_none());
    drop(request);
    assert!((&mut health).now_or_never().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_wait_and_some_give_up() {
    let lanes = Lanes::new(8);
    let served = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..10_000_i64)
        .map(|number| {
            let (entering, served) = (lanes.enter(Lane::Expiry, at(number % 997)), Arc::clone(&served));
            let task = tokio::spawn(async move {
                let _pass = entering.await;
                tokio::task::yield_now().await;
                served.fetch_add(1, Ordering::SeqCst);
            });
            if number % 7 == 0 {
                task.abort();
            }
            task
        })
        .collect();
    let finished = join_all(tasks).await.into_iter().flatten().count();
    assert_eq!(served.load(Ordering::SeqCst), finished);
    assert_eq!(lanes.waiting(), 0);
    // No permit was lost.
    let passes: Vec<_> = (0..8).filter_map(|_| lanes.enter(Lane::Health, None).now_or_never()).collect();
    assert_eq!(passes.len(), 8);
}
