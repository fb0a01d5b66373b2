//! Every bound of the protocol stack, with its unit and its reason. Nothing in the crates above
//! holds a peer's data in a queue, a cache or a loop without one of these.

use std::time::Duration;

/// Bounds on what a peer can make us hold or do. "Peer" is one connection.
///
/// Each field can be changed; `Limits::default()` is what everything runs with otherwise.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one inbound message. Results may carry files and images, hence 16 MiB.
    /// At the bound the message is dropped while it streams in, its id is still read, and that
    /// call fails; the connection lives.
    pub message_bytes: usize,
    /// Bytes of one inbound request or notification. Smaller than results: arguments come from
    /// a model or a person. At the bound the request is answered with a limit error.
    pub request_bytes: usize,
    /// Nesting of arrays and objects. Nobody writes deeper data by hand, and each level costs
    /// stack in the typed decoders. At the bound: invalid params.
    pub json_depth: usize,
    /// Values in one message. A small value costs some hundred bytes once it is a tree, so bytes
    /// alone are no bound. At the bound: invalid params.
    pub json_nodes: usize,
    /// Members of one object. At the bound: invalid params.
    pub json_keys: usize,
    /// Bytes of a request id, a progress token or a cursor. They are kept while a request runs.
    pub token_bytes: usize,
    /// Bytes of a URI or URI template. At the bound: invalid params.
    pub uri_bytes: usize,
    /// Bytes of requests being worked on for one peer. At the bound reading pauses for at most
    /// [`Limits::stall`], then the connection is closed with a reason.
    pub bytes_in_flight: usize,
    /// Requests being worked on for one peer. At the bound a further request is refused at once,
    /// while answers, cancellations, pings and progress are still taken in.
    pub requests_in_flight: usize,
    /// Requests that we have sent and that wait for an answer. At the bound: a local error.
    pub requests_outstanding: usize,
    /// Calls and completions per second of one peer. At the bound: limit error.
    pub calls_per_second: f64,
    /// How many calls may come at once before the rate counts.
    pub calls_burst: f64,
    /// Notifications per second that one peer may send. Beyond it they are dropped with one log
    /// line; cancellations and progress of a request of ours are always taken in.
    pub notifications_per_second: f64,
    /// How many notifications may come at once before the rate counts.
    pub notifications_burst: f64,
    /// Log messages per second that we send to one peer; beyond it they are counted, not sent.
    pub log_messages_per_second: f64,
    /// How many log messages may go out at once before the rate counts.
    pub log_messages_burst: f64,
    /// Progress notifications per second of one call; between them only the newest is kept.
    pub progress_per_second: f64,
    /// How many progress notifications of a call go out at once before the rate counts.
    pub progress_burst: f64,
    /// How long a request that we sent may stay without an answer or progress.
    pub request_timeout: Duration,
    /// How long a request may take in all, whatever progress comes. `None`: no such bound.
    pub request_timeout_max: Option<Duration>,
    /// How long the answer to `initialize` may take. Servers that install themselves on the first
    /// start need more than a usual request.
    pub initialize_timeout: Duration,
    /// How long the answer to `server/discover` may take before a server is taken to be of the other era,
    /// where a silent server may be one: not over HTTP. Then it is asked with `initialize`.
    pub discover_timeout: Duration,
    /// How long a peer may refuse to read, or hold us above the byte bound, before it is closed.
    pub stall: Duration,
    /// Bytes waiting to be written to a peer. At the bound notifications are dropped with one
    /// log line and requests are refused; results are kept, bounded by the bytes in flight.
    pub outbox_bytes: usize,
    /// How long a cancelled handler, or any handler at shutdown, may go on to clean up.
    pub grace: Duration,
    /// Pages of one list that a client fetches. At the bound: an error that names the list.
    pub list_pages: usize,
    /// Tools, resources, prompts or templates of one list that a client takes.
    pub list_items: usize,
    /// Resource subscriptions of one peer. At the bound: limit error.
    pub subscriptions: usize,
    /// Values in a completion result; the specification says 100.
    pub completion_values: usize,
    /// Nesting of a JSON Schema. At the bound registration fails.
    pub schema_depth: usize,
    /// Sub-schemas of a JSON Schema. At the bound registration fails.
    pub schema_nodes: usize,
    /// Bytes of a compiled regular expression of a JSON Schema.
    pub schema_regex_bytes: usize,
    /// Tasks of one principal, or of one session where principals are not told apart. At the bound:
    /// limit error.
    pub tasks: usize,
    /// How long a task is kept at most, running or done, from its creation.
    pub task_ttl: Duration,
    /// How often clients are asked to look at a task, and how often an instance of a server looks itself
    /// at what other instances share with it.
    pub task_poll: Duration,
    /// How long a task that several instances share counts as worked on after the one that does so last
    /// said it. A task that nobody works on has failed.
    pub task_lease: Duration,
    /// How often one call of a stateless client may be answered with questions. At the bound the call
    /// fails.
    pub input_rounds: usize,
    /// Bytes of the state that a stateless client keeps for a server between two rounds. At the bound
    /// the call fails.
    pub request_state_bytes: usize,
    /// How long such a state is good for: a person answers meanwhile.
    pub request_state_lifetime: Duration,
    /// States that may be used once and were, remembered until their time is over. At the bound: limit
    /// error.
    pub used_states: usize,
    /// Sessions over HTTP in all, and of one principal where principals are told apart. At the
    /// bound the longest idle one of that principal is ended; if none is idle, 503.
    pub sessions: usize,
    /// Sessions over HTTP of one principal, where principals are told apart.
    pub sessions_per_principal: usize,
    /// How long a session over HTTP may stay without an open stream and without a request before
    /// it is ended. Its id is answered with 404 afterwards.
    pub session_idle: Duration,
    /// Events that a session over HTTP keeps for clients that come back. At the bound the oldest
    /// go; coming back from before is refused.
    pub ring_events: usize,
    /// Bytes of those events. What a connected client has still to take may go beyond, up to
    /// [`Limits::outbox_bytes`].
    pub ring_bytes: usize,
    /// After how long without an answer an HTTP response becomes an event stream, so that nothing
    /// on the way takes the connection for dead.
    pub event_stream_after: Duration,
    /// How soon a client whose event stream broke off may come back.
    pub event_stream_retry: Duration,
    /// How often a silent event stream carries a comment, for the same reason.
    pub keep_alive: Duration,
    /// Connections of an HTTP listener. At the bound new ones are closed.
    pub connections: usize,
    /// Bytes of the head of an HTTP request. At the bound: 431.
    pub header_bytes: usize,
    /// Bytes of HTTP requests that are being read or worked on, of all clients. At the bound: 503.
    pub process_bytes: usize,
    /// Bytes of one line that a child process writes to stderr; the rest of the line is cut.
    pub stderr_line_bytes: usize,
    /// Lines of a child's stderr that are kept for error messages.
    pub stderr_lines: usize,
}

impl Limits {
    /// The default bounds as a constant.
    pub const DEFAULT: Self = Self {
        message_bytes: 16 * 1024 * 1024,
        request_bytes: 4 * 1024 * 1024,
        json_depth: 64,
        json_nodes: 100_000,
        json_keys: 10_000,
        token_bytes: 1024,
        uri_bytes: 8 * 1024,
        bytes_in_flight: 32 * 1024 * 1024,
        requests_in_flight: 256,
        requests_outstanding: 1024,
        calls_per_second: 1000.0,
        calls_burst: 2000.0,
        notifications_per_second: 200.0,
        notifications_burst: 1000.0,
        log_messages_per_second: 200.0,
        log_messages_burst: 1000.0,
        progress_per_second: 20.0,
        progress_burst: 32.0,
        request_timeout: Duration::from_secs(60),
        request_timeout_max: None,
        initialize_timeout: Duration::from_secs(60),
        discover_timeout: Duration::from_secs(5),
        stall: Duration::from_secs(30),
        outbox_bytes: 4 * 1024 * 1024,
        grace: Duration::from_secs(5),
        list_pages: 64,
        list_items: 2000,
        subscriptions: 1024,
        completion_values: 100,
        schema_depth: 32,
        schema_nodes: 2000,
        schema_regex_bytes: 256 * 1024,
        tasks: 256,
        task_ttl: Duration::from_secs(60 * 60),
        task_poll: Duration::from_secs(1),
        task_lease: Duration::from_secs(30),
        input_rounds: 8,
        request_state_bytes: 64 * 1024,
        request_state_lifetime: Duration::from_secs(10 * 60),
        used_states: 16 * 1024,
        sessions: 4096,
        sessions_per_principal: 256,
        session_idle: Duration::from_secs(30 * 60),
        ring_events: 256,
        ring_bytes: 1024 * 1024,
        event_stream_after: Duration::from_secs(5),
        event_stream_retry: Duration::from_secs(1),
        keep_alive: Duration::from_secs(15),
        connections: 1024,
        header_bytes: 64 * 1024,
        process_bytes: 256 * 1024 * 1024,
        stderr_line_bytes: 16 * 1024,
        stderr_lines: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
