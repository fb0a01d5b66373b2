//! The Rust of `docs/guides/errors.md`, compiled and run.

mod block_1 {
    use compere::ErrorKind;
    use compere::prelude::*;
    use compere::proto::Error as ProtocolError;

    #[tokio::test]
    async fn works() -> compere::Result<()> {
        let client = Client::connect(Server::new("empty", "1").tools_later()).await?;
        match client.call("no-such-tool", ()).await {
            Ok(output) if output.failed() => println!("the tool failed: {}", output.joined_text()),
            Ok(output) => println!("{}", output.joined_text()),
            Err(error) => match error.kind() {
                ErrorKind::Protocol(ProtocolError::Refused(refusal)) => {
                    assert_eq!(refusal.code, -32602)
                }
                ErrorKind::ServerLost(lost) => println!("{:?}", lost.stderr),
                _ if error.is_timeout() => println!("too slow"),
                _ => return Err(error),
            },
        }
        client.close().await
    }
}
