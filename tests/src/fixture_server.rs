//! The fixture of the transcripts on standard input and output.

#[tokio::main(flavor = "current_thread")]
async fn main() -> compere::Result<()> {
    compere_testkit::fixture::server(&[compere::Revision::V2024_11_05])
        .serve_stdio()
        .await
}
