//! What all pages have around them.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use crate::Inner;
use crate::entry::Visit;

/// A page, as it stands in the list of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Inbox,
    Servers,
    Activity,
    Rules,
    Audit,
}

impl Place {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Inbox, "", "Inbox"),
        (Self::Servers, "servers", "Servers"),
        (Self::Activity, "activity", "Activity"),
        (Self::Rules, "rules", "Rules"),
        (Self::Audit, "audit", "Audit"),
    ];
}

/// A page for whoever was let in.
pub(crate) fn page(
    inner: &Inner,
    visit: &Visit,
    place: Place,
    title: &str,
    content: &Markup,
) -> Html<String> {
    whole(
        title,
        Some(&visit.base),
        false,
        &around(inner, visit, place, content),
    )
}

/// The same, for something that goes on: without script it is loaded anew by itself.
pub(crate) fn waiting(
    inner: &Inner,
    visit: &Visit,
    place: Place,
    title: &str,
    content: &Markup,
) -> Html<String> {
    whole(
        title,
        Some(&visit.base),
        true,
        &around(inner, visit, place, content),
    )
}

fn around(inner: &Inner, visit: &Visit, place: Place, content: &Markup) -> Markup {
    let open = inner.host.questions().len();
    html! {
        a.skip href="#content" { "To the content" }
        header.bar {
            p.name { "Compere" }
            nav aria-label="Pages" {
                ul {
                    @for (of, path, name) in Place::ALL {
                        li {
                            a href=(visit.path(path)) aria-current=[(of == place).then_some("page")] {
                                (name)
                                @if of == Place::Inbox {
                                    " " span.count #open-count hidden[open == 0] { (open) }
                                }
                            }
                        }
                    }
                }
            }
            p #connection role="status" {}
        }
        main #content tabindex="-1" { (content) }
    }
}

/// A page for whoever was not.
pub(crate) fn bare(title: &str, content: &Markup) -> Html<String> {
    whole(title, None, false, &html! { main #content { (content) } })
}

fn whole(title: &str, base: Option<&str>, is_open: bool, body: &Markup) -> Html<String> {
    let all = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Compere" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="data:,";
                @if is_open { noscript { meta http-equiv="refresh" content="2"; } }
                @if base.is_some() { script src="/script.js" defer {} }
            }
            body data-base=[base] { (body) }
        }
    };
    Html(all.into_string())
}
