//! What came of a recording.

use std::fmt::Write as _;

/// One step, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was tried, such as `refresh: rotates`.
    pub name: String,
    /// What is wrong; all is well where there is nothing.
    pub problems: Vec<String>,
}

/// Every step that was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In order.
    pub steps: Vec<Step>,
}

impl Report {
    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        self.steps.iter().all(|step| step.problems.is_empty())
    }

    pub(super) fn step(&mut self, name: impl Into<String>, problems: Vec<String>) {
        self.steps.push(Step { name: name.into(), problems });
    }

    /// A line for each step, with what is wrong below it.
    pub fn in_words(&self) -> String {
        self.steps.iter().fold(String::new(), |mut text, step| {
            let verdict = if step.problems.is_empty() { "ok" } else { "FAILED" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{verdict:<6}  {}", step.name);
            for problem in &step.problems {
                let _ = writeln!(text, "          {problem}");
            }
            text
        })
    }
}

/// A text as it may be shown, since it may be a token: its beginning and its length.
pub(super) fn short(text: &str) -> String {
    let length = text.chars().count();
    if length <= 8 {
        text.to_owned()
    } else {
        format!("{}… ({length} characters)", text.chars().take(6).collect::<String>())
    }
}

/// How two texts differ; none where they do not.
pub(super) fn differs(what: &str, wanted: &str, found: &str) -> Option<String> {
    if wanted == found {
        return None;
    }
    let same = wanted.chars().zip(found.chars()).take_while(|(left, right)| left == right).count();
    let from = if same == 0 { String::new() } else { format!(", from character {} on", same + 1) };
    Some(format!("{what} is {}, and should be {}{from}", short(found), short(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown_whole() {
        let said = differs("token", "xoxb-1234567890", "xoxb-1234567891").unwrap();
        assert_eq!(
            said,
            "token is xoxb-1… (15 characters), and should be xoxb-1… (15 characters), from character 15 on"
        );
        assert_eq!(differs("a", "b", "b"), None);
    }
}
