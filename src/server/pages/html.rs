//! HTML that is escaped by the way it is made: literals of this program, and text from anywhere. Pure.

/// Length from which a value is a long one, in bytes.
const LONG: usize = 28;

/// A piece of HTML. Only the functions here make one, and none of them takes markup that was not written in this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Markup(String);

impl Markup {
    /// Markup as it is written in this program.
    pub(super) fn fixed(html: &'static str) -> Self {
        Self(html.to_owned())
    }

    /// Text, which stays text.
    pub(super) fn text(text: &str) -> Self {
        Self(escape(text))
    }

    /// An element with this content.
    pub(super) fn element(name: &'static str, attributes: &[(&'static str, &str)], content: Self) -> Self {
        let (Self(mut html), Self(content)) = (Self::empty(name, attributes), content);
        html.push_str(&content);
        html.push_str("</");
        html.push_str(name);
        html.push('>');
        Self(html)
    }

    /// An element that never has content, such as `input`.
    pub(super) fn empty(name: &'static str, attributes: &[(&'static str, &str)]) -> Self {
        let mut html = format!("<{name}");
        for (attribute, value) in attributes {
            html.push(' ');
            html.push_str(attribute);
            html.push_str("=\"");
            html.push_str(&escape(value));
            html.push('"');
        }
        html.push('>');
        Self(html)
    }

    /// A paragraph of text.
    pub(super) fn paragraph(text: &str) -> Self {
        Self::element("p", &[], Self::text(text))
    }

    /// Terms and what they are. Those without a value are left out, and so is a list without terms.
    pub(super) fn terms(rows: &[(&'static str, Option<&str>)]) -> Self {
        let rows: Self = rows
            .iter()
            .filter_map(|(term, value)| value.map(|value| (term, value)))
            .flat_map(|(term, value)| [Self::element("dt", &[], Self::fixed(term)), Self::value(value)])
            .collect();
        if rows.0.is_empty() { rows } else { Self::element("dl", &[], rows) }
    }

    /// What a term is. A long name is put in smaller letters, and may go on in another line after a colon.
    fn value(value: &str) -> Self {
        if value.len() <= LONG {
            return Self::element("dd", &[], Self::text(value));
        }
        let parts = value.split_inclusive(':').flat_map(|part| [Self::text(part), Self::fixed("<wbr>")]);
        Self::element("dd", &[("class", "long")], parts.collect())
    }

    /// The HTML.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl FromIterator<Markup> for Markup {
    fn from_iter<I: IntoIterator<Item = Self>>(pieces: I) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect())
    }
}

/// Text as it may stand in an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Controls, and characters that turn the direction of what follows, could make a page say something else.
            character if character.is_control() || is_bidirectional(character) => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

const fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let bad = "<script>&\"'\u{202e}\u{0}\n";
        let escaped = "&lt;script&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(Markup::text(bad).into_string(), escaped);
        assert_eq!(Markup::paragraph(bad).into_string(), format!("<p>{escaped}</p>"));
        assert_eq!(Markup::empty("input", &[("value", bad)]).into_string(), format!("<input value=\"{escaped}\">"));
        let terms = Markup::terms(&[("App", Some(bad)), ("Project", None)]);
        assert_eq!(terms.into_string(), format!("<dl><dt>App</dt><dd>{escaped}</dd></dl>"));
    }

    #[test]
    fn long_values_break_after_colons() {
        let html = Markup::terms(&[("Through", Some("system:serviceaccount:<b>:frontend"))]).into_string();
        let value = "system:<wbr>serviceaccount:<wbr>&lt;b&gt;:<wbr>frontend<wbr>";
        assert_eq!(html, format!("<dl><dt>Through</dt><dd class=\"long\">{value}</dd></dl>"));
    }

    #[test]
    fn no_terms_are_no_list() {
        assert_eq!(Markup::terms(&[("App", None)]), Markup::default());
    }
}
