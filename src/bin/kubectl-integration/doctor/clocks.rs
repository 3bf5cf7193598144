//! Clocks: this machine's, the API server's and that of the public address, by the header `Date` (RFC 9110 §6.6.1).
//!
//! Requests by annotation carry the time of this machine, and tokens end by the operator's. A header holds whole
//! seconds, and an answer takes time: what lies within these bounds is no difference.

use jiff::Timestamp;
use kube::client::Body;

use super::check::Check;
use crate::cluster::Cluster;

/// From here on somebody should look, in seconds.
const NOTICEABLE: i64 = 5;
/// From here on requests and tokens are mistaken, in seconds.
const HARMFUL: i64 = 60;

/// A clock that was asked: what it said, and when this machine asked and heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// What it said.
    pub(crate) said: Timestamp,
    /// When it was asked.
    pub(crate) asked: Timestamp,
    /// When it had answered.
    pub(crate) heard: Timestamp,
}

impl Reading {
    /// From the header of an answer.
    pub(crate) fn of(headers: &http::HeaderMap, asked: Timestamp) -> Option<Self> {
        let text = headers.get(http::header::DATE)?.to_str().ok()?;
        let said = httpdate::parse_http_date(text).ok()?;
        Some(Self { said: Timestamp::try_from(said).ok()?, asked, heard: Timestamp::now() })
    }

    /// By how many seconds that clock is ahead of this machine's, for certain.
    fn ahead(self) -> i64 {
        let (said, asked, heard) = (self.said.as_second(), self.asked.as_second(), self.heard.as_second());
        // It said so at some moment of that second, and at some moment between asking and hearing.
        if said > heard {
            said - heard
        } else if said < asked {
            said - asked
        } else {
            0
        }
    }
}

/// Asks the API server.
pub(crate) async fn api_server(cluster: &Cluster) -> Option<Reading> {
    let request = http::Request::get("/version").body(Body::empty()).ok()?;
    let asked = Timestamp::now();
    let answer = cluster.client.send(request).await.ok()?;
    Reading::of(answer.headers(), asked)
}

/// Compares them.
pub(crate) fn check(api_server: Option<Reading>, public: Option<Reading>) -> Check {
    let mut known = Vec::new();
    known.extend(api_server.map(|reading| ("the API server", reading.ahead())));
    known.extend(public.map(|reading| ("the public address", reading.ahead())));
    if known.is_empty() {
        return Check::skipped("clocks", "neither the API server nor the public address told the time");
    }
    let worst = known.iter().map(|(_, ahead)| ahead.abs()).max().unwrap_or_default();
    let apart: Vec<String> = known
        .iter()
        .filter(|(_, ahead)| ahead.abs() >= NOTICEABLE)
        .map(|(whose, ahead)| words(whose, *ahead))
        .collect();
    let to_do = "have every machine take its time from NTP: requests carry the time of who asks, and tokens end by it";
    if worst < NOTICEABLE {
        let whose: Vec<&str> = known.iter().map(|(whose, _)| *whose).collect();
        return Check::ok("clocks", format!("this machine agrees with {}", whose.join(" and ")));
    }
    let says = apart.join("; ");
    if worst < HARMFUL { Check::warning("clocks", says, to_do) } else { Check::failed("clocks", says, to_do) }
}

fn words(whose: &str, ahead: i64) -> String {
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    format!("{whose} is {} seconds {side} this machine", ahead.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn reading(said: &str) -> Reading {
        let time = |text: &str| text.parse().unwrap();
        let (asked, heard) = (time("2026-05-01T12:00:00.900Z"), time("2026-05-01T12:00:02.100Z"));
        Reading { said: time(said), asked, heard }
    }

    #[test]
    fn the_time_of_the_way_is_no_difference() {
        for (said, ahead) in [
            ("2026-05-01T12:00:00Z", 0),
            ("2026-05-01T12:00:02Z", 0),
            ("2026-05-01T12:00:12Z", 10),
            ("2026-05-01T11:59:50Z", -10),
        ] {
            assert_eq!(reading(said).ahead(), ahead, "{said}");
        }
    }

    #[test]
    fn who_is_wrong_is_named() {
        let good = Some(reading("2026-05-01T12:00:01Z"));
        assert_eq!(check(good, good).verdict, Verdict::Ok);
        let slow = check(good, Some(reading("2026-05-01T11:59:40Z")));
        assert_eq!(slow.verdict, Verdict::Warning);
        assert_eq!(slow.says, "the public address is 20 seconds behind this machine");
        assert_eq!(check(Some(reading("2026-05-01T13:00:00Z")), good).verdict, Verdict::Failed);
        assert_eq!(check(None, None).verdict, Verdict::Skipped);
    }

    #[test]
    fn a_header_is_read() {
        let mut headers = http::HeaderMap::new();
        assert!(Reading::of(&headers, Timestamp::now()).is_none());
        headers.insert("date", http::HeaderValue::from_static("Fri, 01 May 2026 12:00:00 GMT"));
        assert_eq!(Reading::of(&headers, Timestamp::now()).unwrap().said, "2026-05-01T12:00:00Z".parse().unwrap());
    }
}
