//! How pages look: one style sheet, allowed by its hash, and a sign for each way a page can end.
//!
//! Colours are those of a light and a dark scheme with a contrast of 4.5 at least (WCAG 2.2 §1.4.3). Nothing has a fixed
//! width, so that a page holds on 320 pixels and when it is enlarged. Where a person's own colours are forced, borders and
//! the sign take them.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use super::html::Markup;

pub(super) const STYLE: &str = include_str!("style.css");

/// The style by its hash (CSP Level 3 §2.3.1), so that no other style is applied.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'; form-action")
});

/// What a page is about, at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Something is asked.
    Question,
    /// It is done.
    Done,
    /// It goes on by itself.
    Waiting,
    /// Nothing was done, and nothing is broken.
    Stopped,
    /// Something went wrong.
    Failed,
}

impl Sign {
    /// The class by which the style sheet knows it.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// A drawing, which says nothing that the heading does not.
    pub(super) fn drawing(self) -> Markup {
        Markup::fixed(match self {
            Self::Question => drawing!("M9 17H7A5 5 0 0 1 7 7h2m6 0h2a5 5 0 0 1 0 10h-2M8 12h8"),
            Self::Done => drawing!("M5 12.5l4.5 4.5L19 7.5"),
            Self::Waiting => drawing!("M12 6v6l4 2.5M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0"),
            Self::Stopped => drawing!("M6 12h12"),
            Self::Failed => drawing!("M12 5.5v8m0 4.5v.01"),
        })
    }
}

macro_rules! drawing {
    ($path:literal) => {
        concat!(
            "<svg viewBox=\"0 0 24 24\" width=\"24\" height=\"24\" fill=\"none\" stroke=\"currentColor\" ",
            "stroke-width=\"2.25\" stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\" ",
            "focusable=\"false\"><path d=\"",
            $path,
            "\"/></svg>"
        )
    };
}
use drawing;
