//! What the tools of our own servers do, said by us and not by their annotations: a host that trusts
//! this program can rely on it.

/// Tools of `files` that change nothing.
const FILES: [&str; 10] = [
    "list_allowed_directories",
    "list_directory",
    "list_directory_with_sizes",
    "directory_tree",
    "get_file_info",
    "read_file",
    "read_text_file",
    "read_multiple_files",
    "read_media_file",
    "search_files",
];

/// Does this tool of this built-in server only read? What is not known does not.
pub fn only_reads(server: &str, tool: &str) -> bool {
    match server {
        "files" => FILES.contains(&tool),
        _ => false,
    }
}
