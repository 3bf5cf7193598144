//! The two pages a person may see. No script, nothing loaded from anywhere, light or dark as the browser wishes.

use std::fmt::Write as _;

use url::Url;

use super::{authority::Ask, options::SandboxOptions};

const STYLE: &str = "
:root { color-scheme: light dark; --card: light-dark(#fff, #20242c); --page: light-dark(#f3f4f7, #14171c);
  --line: light-dark(#d9dce3, #3a404c); --quiet: light-dark(#5b6270, #a3abba); --accent: light-dark(#2f5bd7, #86a6ff); }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page);
  font: 16px/1.5 system-ui, sans-serif; }
main { width: min(26rem, 100% - 2rem); padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
h1 { margin: 0 0 .25rem; font-size: 1.25rem; }
p { margin: 0 0 1.25rem; color: var(--quiet); overflow-wrap: anywhere; }
ul { margin: 0 0 1.25rem; padding-left: 1.25rem; }
fieldset { margin: 0 0 1.25rem; padding: 0; border: 0; }
legend, h2 { margin: 0 0 .5rem; padding: 0; font-size: .9rem; font-weight: 600; }
label { display: flex; gap: .75rem; align-items: center; padding: .6rem .75rem; border: 1px solid var(--line);
  border-radius: 8px; margin-bottom: .5rem; cursor: pointer; }
label:has(:checked) { border-color: var(--accent); }
label small { display: block; color: var(--quiet); }
input { accent-color: var(--accent); }
footer { display: flex; gap: .75rem; }
button { flex: 1; padding: .65rem; font: inherit; font-weight: 600; border-radius: 8px; cursor: pointer;
  border: 1px solid var(--line); background: transparent; color: inherit; }
button.allow { background: var(--accent); border-color: var(--accent); color: light-dark(#fff, #10131a); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }";

/// The question: who asks, for what, and for which workspace.
pub fn consent(options: &SandboxOptions, ask: &Ask, request: &str) -> String {
    let client = escaped(&ask.client);
    let back = Url::parse(&ask.redirect_uri).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization());
    let mut scopes = String::new();
    for scope in ask.scope.split(' ').filter(|scope| !scope.is_empty()) {
        let _ = write!(scopes, "<li>{}</li>", escaped(scope));
    }
    if scopes.is_empty() {
        scopes.push_str("<li>nothing beyond who you are</li>");
    }
    let mut accounts = String::new();
    for (index, account) in options.accounts.iter().enumerate() {
        let checked = if index == 0 { " checked" } else { "" };
        let (id, name, user) = (escaped(&account.id), escaped(&account.name), escaped(&account.user));
        let _ = write!(
            accounts,
            "<label><input type=\"radio\" name=\"account\" value=\"{id}\"{checked}><span>{name}<small>{user}</small></span></label>"
        );
    }
    layout(
        "Connect an app",
        &format!(
            "<h1>Connect {client}?</h1>
<p>The answer goes to {back}</p>
<form method=\"post\" action=\"/authorize\">
<input type=\"hidden\" name=\"request\" value=\"{request}\">
<h2>It asks to</h2><ul>{scopes}</ul>
<fieldset><legend>Workspace</legend>{accounts}</fieldset>
<footer><button name=\"decision\" value=\"deny\">Deny</button>
<button name=\"decision\" value=\"allow\" class=\"allow\">Allow</button></footer>
</form>",
            back = escaped(&back),
        ),
    )
}

/// A request that cannot be answered to the client.
pub fn problem(what: &str) -> String {
    layout("Not connected", &format!("<h1>This request cannot be served</h1><p>{}</p>", escaped(what)))
}

fn layout(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title} · Sandbox</title>\
<style>{STYLE}</style></head><body><main>{content}</main></body></html>"
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
        out
    })
}
