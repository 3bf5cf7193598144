use tokio::time::advance;

use super::*;

const UID: &str = "2f6d";
const HOST: &str = "slack.com";

fn gates() -> Gates {
    Gates::new(GateOptions::default())
}

fn fail(gates: &Gates, times: usize) {
    for _ in 0..times {
        if let Ok(admission) = gates.admit(UID, HOST) {
            admission.failed();
        }
    }
}

fn why(gates: &Gates) -> Option<Why> {
    gates.admit(UID, HOST).err().map(|busy| busy.why)
}

fn retry_in(gates: &Gates) -> Option<Duration> {
    gates.admit(UID, HOST).err().map(|busy| busy.retry_in)
}

#[tokio::test(start_paused = true)]
async fn a_burst_and_then_a_rate() {
    let gates = gates();
    let at_once = (0..100).filter(|_| gates.admit(UID, HOST).is_ok()).count();
    assert_eq!(at_once, 20);
    assert_eq!(why(&gates), Some(Why::Limited));
    advance(Duration::from_secs(1)).await;
    let later = (0..100).filter(|_| gates.admit(UID, HOST).is_ok()).count();
    assert_eq!(later, 10);
    assert!(gates.admit(UID, "other.com").is_ok());
    assert!(gates.admit("other", HOST).is_ok());
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_it() {
    let gates = gates();
    fail(&gates, 4);
    assert!(gates.admit(UID, HOST).map(Admission::succeeded).is_ok());
    fail(&gates, 4);
    assert_eq!(why(&gates), None);
    fail(&gates, 1);
    assert_eq!(retry_in(&gates), Some(Duration::from_secs(30)));
    assert!(gates.admit("other", HOST).is_ok());
    assert!(gates.admit(UID, "other.com").is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_longer_each_time() {
    let gates = gates();
    fail(&gates, 5);
    for seconds in [30, 60, 120, 240, 300, 300] {
        assert_eq!(retry_in(&gates), Some(Duration::from_secs(seconds)));
        advance(Duration::from_secs(seconds)).await;
        let probe = gates.admit(UID, HOST);
        assert_eq!(why(&gates), Some(Why::Open));
        assert!(probe.map(Admission::failed).is_ok());
    }
    advance(Duration::from_mins(5)).await;
    assert!(gates.admit(UID, HOST).map(Admission::succeeded).is_ok());
    fail(&gates, 5);
    assert_eq!(retry_in(&gates), Some(Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_dropped_makes_way_for_another() {
    let gates = gates();
    fail(&gates, 5);
    advance(Duration::from_secs(30)).await;
    let probe = gates.admit(UID, HOST);
    assert!(probe.is_ok());
    drop(probe);
    assert!(gates.admit(UID, HOST).is_ok());
}

#[tokio::test(start_paused = true)]
async fn stragglers_of_an_earlier_round_do_not_count() {
    let gates = gates();
    let straggler = gates.admit(UID, HOST);
    let late_failure = gates.admit(UID, HOST);
    fail(&gates, 5);
    assert!(straggler.map(Admission::succeeded).is_ok());
    assert_eq!(retry_in(&gates), Some(Duration::from_secs(30)));
    advance(Duration::from_secs(10)).await;
    assert!(late_failure.map(Admission::failed).is_ok());
    assert_eq!(retry_in(&gates), Some(Duration::from_secs(20)));
}

#[tokio::test(start_paused = true)]
async fn silence_is_neither() {
    let gates = gates();
    fail(&gates, 4);
    drop(gates.admit(UID, HOST));
    assert_eq!(why(&gates), None);
    fail(&gates, 1);
    assert_eq!(why(&gates), Some(Why::Open));
}

#[tokio::test(start_paused = true)]
async fn retry_after_closes_that_host_only() {
    let gates = gates();
    let (first, second) = (gates.admit(UID, HOST), gates.admit(UID, HOST));
    assert!(first.map(|admission| admission.limited(Some(Duration::from_secs(40)))).is_ok());
    assert!(second.map(|admission| admission.limited(None)).is_ok());
    assert_eq!(
        gates.admit(UID, "SLACK.com").err(),
        Some(Busy { retry_in: Duration::from_secs(40), why: Why::Limited })
    );
    assert!(gates.admit(UID, "other.com").is_ok());
    advance(Duration::from_secs(40)).await;
    assert!(gates.admit(UID, HOST).map(|admission| admission.limited(Some(Duration::MAX))).is_ok());
    assert_eq!(why(&gates), Some(Why::Limited));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded() {
    let gates = Gates::new(GateOptions { kept: 100, ..GateOptions::default() });
    for number in 0..1000 {
        assert!(gates.admit(UID, &format!("{number}.example")).is_ok());
    }
    assert_eq!(gates.len(), 100);
    assert!(gates.admit(UID, "999.example").is_ok());
    assert_eq!(gates.len(), 100);
    advance(Duration::from_hours(1)).await;
    assert!(gates.admit(UID, HOST).is_ok());
    assert_eq!(gates.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_let_in_as_they_came() {
    let gates = gates();
    while gates.admit(UID, HOST).is_ok() {}
    let began = Instant::now();
    let waiting: futures::stream::FuturesUnordered<_> = (0..30)
        .map(|number| {
            let gates = gates.clone();
            async move {
                gates.wait(UID, HOST, Duration::from_secs(5)).await.unwrap().succeeded();
                number
            }
        })
        .collect();
    let order: Vec<i32> = futures::StreamExt::collect(waiting).await;
    assert_eq!(order, (0..30).collect::<Vec<_>>());
    let took = began.elapsed().as_secs_f64();
    assert!((2.8..=3.2).contains(&took), "30 at 10 a second took {took} s");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_long_or_for_a_provider_that_fails() {
    let gates = gates();
    gates.admit(UID, HOST).unwrap().limited(Some(Duration::from_mins(1)));
    let patience = Duration::from_secs(5);
    assert_eq!(gates.wait(UID, HOST, patience).await.unwrap_err().why, Why::Limited);
    fail(&gates, 20);
    let began = Instant::now();
    assert!(gates.wait(UID, HOST, patience).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
}
