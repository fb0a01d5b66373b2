//! The fixture of the transcripts on standard input and output: `fixture-server [REVISION]`.

use compere::Revision;

#[tokio::main(flavor = "current_thread")]
async fn main() -> compere::Result<()> {
    let revision = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(Revision::V2024_11_05);
    compere_testkit::fixture::server(&[revision])
        .serve_stdio()
        .await
}
