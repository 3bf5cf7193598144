//! The person who connects the app: goes where the pages lead, reads them, presses their buttons. Cookies are kept as a
//! browser keeps them. What is printed of an address is its host and path: the rest is a capability.

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use url::Url;

use crate::servers::browser::{Browser, Page};
use crate::voice::say;

/// No way to an app is longer.
const MOST_HOPS: usize = 12;

/// Which buttons mean yes, on the operator's page and on the app's.
const YES: [&str; 2] = ["Continue", "Allow"];

/// Names that a reader knows, for addresses that are only ports.
pub(crate) struct Names<'a> {
    pub(crate) operator: &'a str,
    pub(crate) app: &'a str,
}

impl Names<'_> {
    fn of(&self, url: &Url) -> &'static str {
        match url.as_str() {
            url if url.starts_with(self.operator) => "operator",
            url if url.starts_with(self.app) => "sandbox",
            _ => "elsewhere",
        }
    }
}

/// Walks from a link to the page on which it ends.
pub(crate) async fn connect(link: &str, names: &Names<'_>) -> Result<()> {
    let mut browser = Browser::new();
    let mut page = browser.get(link).await?;
    let mut method = Method::GET;
    for _ in 0..MOST_HOPS {
        hop(&method, &page, names);
        ensure!(!page.status.is_client_error() && !page.status.is_server_error(), "{}", text(&page, "p"));
        if let Some(next) = browser.follow(&page).await? {
            method = Method::GET;
            page = next;
            continue;
        }
        let Some(form) = page.forms().into_iter().next() else {
            return end(&page);
        };
        let button = YES.into_iter().find_map(|button| form.clone().press(button));
        let form = button.with_context(|| format!("no button to say yes on the page “{}”", text(&page, "h1")))?;
        method = form.method.clone();
        page = browser.submit(&form).await?;
    }
    bail!("still not connected after {MOST_HOPS} hops")
}

fn hop(method: &Method, page: &Page, names: &Names<'_>) {
    let answer = match &page.location {
        Some(to) => format!("sends the browser on to the {}", names.of(to)),
        None => format!("page “{}”{}", text(page, "h1"), pressed(page)),
    };
    let path = page.url.path();
    say(format_args!("{:<8}  {method:<4}  {path:<46}  {}  {answer}", names.of(&page.url), page.status.as_u16()));
}

fn pressed(page: &Page) -> String {
    let forms = page.forms();
    let buttons = forms.iter().flat_map(|form| &form.buttons);
    let yes = buttons.map(|button| &button.label).find(|label| YES.iter().any(|yes| label.starts_with(yes)));
    yes.map_or_else(String::new, |label| format!(": the person presses “{label}”"))
}

fn end(page: &Page) -> Result<()> {
    let heading = text(page, "h1");
    ensure!(["Connected", "Almost done"].contains(&heading.as_str()), "the browser ended on the page “{heading}”");
    Ok(())
}

/// The text of the first element of a name.
fn text(page: &Page, element: &str) -> String {
    let document = scraper::Html::parse_document(&page.body);
    let selector = scraper::Selector::parse(element).ok();
    let found = selector.and_then(|selector| document.select(&selector).next().map(|found| found.text().collect()));
    found.unwrap_or_default()
}
