//! What a person should know of an address that a server wants them to open.

use http::Uri;

/// The site that the address leads to, and what is odd about it.
pub(crate) struct Page {
    pub(crate) site: String,
    pub(crate) warnings: Vec<&'static str>,
}

impl Page {
    /// Looks at an address; nothing is fetched. `None` if it is no page of the web.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let site = uri.host()?.to_lowercase();
        let here = matches!(site.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        let mut warnings = Vec::new();
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if here => {}
            Some("http") => warnings.push("It is not encrypted (http, not https)."),
            _ => return None,
        }
        if authority.as_str().contains('@') {
            warnings.push("There is a name before an @: the site is what stands behind it.");
        }
        if site.split('.').any(|label| label.starts_with("xn--")) {
            warnings.push("The name of the site has letters of other scripts; it may only look like another one.");
        }
        let is_number = site.starts_with('[') || site.parse::<std::net::Ipv4Addr>().is_ok();
        if is_number && !here {
            warnings.push("The site is a bare number, not a name.");
        }
        Some(Self { site, warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_about_an_address_is_said() {
        let odd = |url: &str| Page::of(url).map(|page| (page.site, page.warnings.len()));
        let is = |site: &str, count| Some((site.to_owned(), count));
        assert_eq!(odd("https://example.com/sign-in"), is("example.com", 0));
        assert_eq!(odd("http://localhost:8080/"), is("localhost", 0));
        assert_eq!(odd("http://Example.com/"), is("example.com", 1));
        assert_eq!(
            odd("https://bank.example@evil.example/"),
            is("evil.example", 1)
        );
        assert_eq!(
            odd("https://xn--pypal-4ve.com/"),
            is("xn--pypal-4ve.com", 1)
        );
        assert_eq!(odd("https://203.0.113.7/"), is("203.0.113.7", 1));
        for url in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "",
            "/a",
            "https://p\u{430}y.com/",
        ] {
            assert_eq!(odd(url), None, "{url}");
        }
    }
}
