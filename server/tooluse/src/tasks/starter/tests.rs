use super::*;

#[test]
fn every_content_file_loads() {
    let (_, errors) = content::parse(&content::DOMAIN_FILES, content::POOLS, content::CHAT);
    let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{} mistakes:\n{}", list.len(), list.join("\n"));
}
