//! Completion scripts for shells, made from the tables of commands and flags.
//!
//! Each script is a list of what may follow which words.

use std::fmt::Write as _;

use crate::table::{Command, Flag, Program};

/// The script for a shell, if it is one we know.
pub(crate) fn script<A>(table: &Program<A>, program: &str, shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash(table, program)),
        "zsh" => Some(format!(
            "#compdef {program}\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash(table, program)
        )),
        "fish" => Some(fish(table, program)),
        "powershell" => Some(powershell(table, program)),
        _ => None,
    }
}

/// Each path of names with the words that may follow it.
fn choices<A>(table: &Program<A>) -> Vec<(String, Vec<String>)> {
    fn add<A>(path: &str, command: &Command<A>, globals: &[Flag], all: &mut Vec<(String, Vec<String>)>) {
        let names = command.children.iter().map(|child| child.name.to_owned());
        let flags = command.flags.iter().chain(globals).map(|flag: &Flag| format!("--{}", flag.name));
        all.push((path.to_owned(), names.chain(flags).collect()));
        for child in command.children {
            add(format!("{path} {}", child.name).trim_start(), child, globals, all);
        }
    }
    let mut all = Vec::new();
    add("", table.root, table.globals, &mut all);
    all
}

fn bash<A>(table: &Program<A>, program: &str) -> String {
    let function = format!("_{}", program.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let mut text = format!("{function}() {{\n    local word path=\"\"\n");
    text.push_str("    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n");
    text.push_str("        case \"$word\" in -*) ;; *) path=\"${path:+$path }$word\" ;; esac\n    done\n");
    text.push_str("    case \"$path\" in\n");
    for (path, words) in choices(table) {
        let pattern = if path.is_empty() { "\"\"".to_owned() } else { format!("\"{path}\"") };
        let words = words.join(" ");
        let _infallible = writeln!(text, "        {pattern}) word=\"{words}\" ;;");
    }
    text.push_str("        *) word=\"\" ;;\n    esac\n");
    text.push_str("    COMPREPLY=($(compgen -W \"$word\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n");
    let _infallible = writeln!(text, "complete -F {function} {program}");
    text
}

fn fish<A>(table: &Program<A>, program: &str) -> String {
    let mut text = String::new();
    for (path, words) in choices(table) {
        let depth = path.split_whitespace().count();
        for word in words.iter().filter(|_| depth < 2) {
            let seen = match depth {
                0 => "__fish_use_subcommand".to_owned(),
                _ => format!("__fish_seen_subcommand_from {path}"),
            };
            let _infallible = match word.strip_prefix("--") {
                Some(flag) if depth == 0 => writeln!(text, "complete -c {program} -l {flag}"),
                Some(flag) if table.globals.iter().any(|global| global.name == flag) => Ok(()),
                Some(flag) => writeln!(text, "complete -c {program} -n '{seen}' -l {flag}"),
                None => writeln!(text, "complete -c {program} -f -n '{seen}' -a {word}"),
            };
        }
    }
    text
}

/// The head and the foot of the script stand around a `switch` over the words that were typed before.
fn powershell<A>(table: &Program<A>, program: &str) -> String {
    let mut text = format!(
        "Register-ArgumentCompleter -Native -CommandName '{program}' -ScriptBlock {{
    param($word, $ast, $cursor)
    $path = ''
    foreach ($element in $ast.CommandElements | Select-Object -Skip 1) {{
        if ($element.Extent.EndOffset -ge $cursor) {{ break }}
        $text = $element.Extent.Text
        if (-not $text.StartsWith('-')) {{ $path = \"$path $text\".Trim() }}
    }}
    $choices = switch ($path) {{
"
    );
    for (path, words) in choices(table) {
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let _infallible = writeln!(text, "        '{path}' {{ @({}) }}", words.join(", "));
    }
    text.push_str(
        "        default { @() }
    }
    $choices | Where-Object { $_ -like \"$word*\" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }
}
",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PROGRAM;

    #[test]
    fn scripts_know_all_commands() {
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let script = script(&PROGRAM, "etchedctl", shell).unwrap();
            for word in ["compaction", "keep-alive", "print-value-only", "endpoints", "grant-permission"] {
                assert!(script.contains(word), "{word} in {shell}");
            }
        }
        assert_eq!(script(&PROGRAM, "etchedctl", "tcsh"), None);
    }
}
