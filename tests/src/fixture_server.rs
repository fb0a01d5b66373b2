//! The fixture of the transcripts on standard input and output: `fixture-server [REVISION|all]`.

use compere::Revision;

#[tokio::main(flavor = "current_thread")]
async fn main() -> compere::Result<()> {
    let asked = std::env::args().nth(1);
    let one: Option<Revision> = asked.as_deref().and_then(|text| text.parse().ok());
    let revisions = match (&one, asked.as_deref()) {
        (Some(revision), _) => std::slice::from_ref(revision),
        (None, Some("all")) => &Revision::ALL,
        (None, _) => &[Revision::V2024_11_05],
    };
    compere_testkit::fixture::server(revisions)
        .serve_stdio()
        .await
}
