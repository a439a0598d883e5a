//! `auth`, `user` and `role`: who may do what.

use etched_client::{Access, Client, ErrorKind, Keys};
use etched_proto::etcdserverpb::ResponseHeader;

use super::{Context, write};
use crate::failure::{Exit, Failure};
use crate::output::Answer;
use crate::prompt;
use crate::text::words::first_word;

/// The arguments of a command as texts, if there are as many as it needs.
fn exactly<const N: usize>(context: &Context, otherwise: &str) -> Result<[String; N], Failure> {
    let words: Vec<_> =
        context.args.all().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    words.try_into().map_err(|_| Failure::arguments(otherwise))
}

/// A client for commands that have no time limit.
async fn patient(context: &Context) -> Result<Client, Failure> {
    Ok(context.client().await?.with_timeout(None))
}

fn changed(context: &Context, said: String, header: Option<ResponseHeader>) -> Result<(), Failure> {
    context.print(&Answer::AuthChanged { said, header })
}

pub(super) async fn enable(context: &Context) -> Result<(), Failure> {
    let [] = exactly(context, "auth enable command does not accept any arguments")?;
    let client = context.client().await?;
    while let Err(error) = client.auth_enable().await {
        if error.kind() != ErrorKind::RootRoleNotExist {
            return Err(error.into());
        }
        // The user `root` is nobody's choice, but its role can be put right.
        client.role_add("root").await?;
        client.user_grant_role("root", "root").await?;
    }
    write(b"Authentication Enabled\n")
}

pub(super) async fn disable(context: &Context) -> Result<(), Failure> {
    let [] = exactly(context, "auth disable command does not accept any arguments")?;
    context.client().await?.auth_disable().await?;
    write(b"Authentication Disabled\n")
}

pub(super) async fn status(context: &Context) -> Result<(), Failure> {
    let [] = exactly(context, "auth status command does not accept any arguments")?;
    let response = context.client().await?.auth_status().await?;
    context.print(&Answer::AuthStatus(response))
}

pub(super) async fn user_add(context: &Context) -> Result<(), Failure> {
    let [given] = exactly(context, "user add command requires user name as its argument")?;
    let args = &context.args;
    if args.bool("no-password") {
        let response = patient(context).await?.user_add_without_password(&given).await?;
        return changed(context, format!("User {given} created"), response.header);
    }
    let (user, password) = match (args.text("new-user-password"), given.split_once(':')) {
        ("", Some(("", _))) => return Err(Failure::arguments("empty user name is not allowed")),
        ("", Some((user, password))) => (user.to_owned(), password.to_owned()),
        ("", None) => (given.clone(), new_password(context, &given)?),
        (password, _) => (given.clone(), password.to_owned()),
    };
    let response = patient(context).await?.user_add(&user, password).await?;
    changed(context, format!("User {user} created"), response.header)
}

/// A new password for a user: asked for twice, or the first word of standard input.
fn new_password(context: &Context, user: &str) -> Result<String, Failure> {
    if context.args.is_given("interactive") && !context.args.bool("interactive") {
        return Ok(first_word(&mut std::io::stdin().lock()));
    }
    let ask = |text: &str| {
        prompt::secret(text).map_err(|why| Failure::arguments(format!("failed to ask password: {why}")))
    };
    let password = ask(&format!("Password of {user}: "))?;
    if password.is_empty() {
        return Err(Failure::arguments("empty password"));
    }
    if ask(&format!("Type password of {user} again for confirmation: "))? != password {
        return Err(Failure::arguments("given passwords are different"));
    }
    Ok(password)
}

pub(super) async fn user_delete(context: &Context) -> Result<(), Failure> {
    let [user] = exactly(context, "user delete command requires user name as its argument")?;
    let response = patient(context).await?.user_delete(&user).await?;
    changed(context, format!("User {user} deleted"), response.header)
}

pub(super) async fn user_get(context: &Context) -> Result<(), Failure> {
    let [user] = exactly(context, "user get command requires user name as its argument")?;
    let client = patient(context).await?;
    let response = client.user_get(&user).await?;
    if !context.args.bool("detail") {
        return context.print(&Answer::UserGet { user, response });
    }
    write(format!("User: {user}\n").as_bytes())?;
    for role in response.roles {
        write(b"\n")?;
        let response = client.role_get(&role).await?;
        context.print(&Answer::RoleGet { role, response })?;
    }
    Ok(())
}

pub(super) async fn user_list(context: &Context) -> Result<(), Failure> {
    let [] = exactly(context, "user list command requires no arguments")?;
    let response = patient(context).await?.user_list().await?;
    context.print(&Answer::UserList(response))
}

pub(super) async fn user_passwd(context: &Context) -> Result<(), Failure> {
    let [user] = exactly(context, "user passwd command requires user name as its argument")?;
    let password = new_password(context, &user)?;
    let response = patient(context).await?.user_change_password(user, password).await?;
    changed(context, "Password updated".to_owned(), response.header)
}

pub(super) async fn user_grant_role(context: &Context) -> Result<(), Failure> {
    let usage = "user grant command requires user name and role name as its argument";
    let [user, role] = exactly(context, usage)?;
    let response = patient(context).await?.user_grant_role(&user, &role).await?;
    changed(context, format!("Role {role} is granted to user {user}"), response.header)
}

pub(super) async fn user_revoke_role(context: &Context) -> Result<(), Failure> {
    let usage = "user revoke-role requires user name and role name as its argument";
    let [user, role] = exactly(context, usage)?;
    let response = patient(context).await?.user_revoke_role(&user, &role).await?;
    changed(context, format!("Role {role} is revoked from user {user}"), response.header)
}

pub(super) async fn role_add(context: &Context) -> Result<(), Failure> {
    let [role] = exactly(context, "role add command requires role name as its argument")?;
    let response = patient(context).await?.role_add(&role).await?;
    changed(context, format!("Role {role} created"), response.header)
}

pub(super) async fn role_delete(context: &Context) -> Result<(), Failure> {
    let [role] = exactly(context, "role delete command requires role name as its argument")?;
    let response = patient(context).await?.role_delete(&role).await?;
    changed(context, format!("Role {role} deleted"), response.header)
}

pub(super) async fn role_get(context: &Context) -> Result<(), Failure> {
    let [role] = exactly(context, "role get command requires role name as its argument")?;
    let response = patient(context).await?.role_get(&role).await?;
    context.print(&Answer::RoleGet { role, response })
}

pub(super) async fn role_list(context: &Context) -> Result<(), Failure> {
    let [] = exactly(context, "role list command requires no arguments")?;
    let response = patient(context).await?.role_list().await?;
    context.print(&Answer::RoleList(response))
}

pub(super) async fn role_grant_permission(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let [role, access, keys @ ..] = words.as_slice() else {
        return Err(grant_usage());
    };
    if keys.is_empty() {
        return Err(grant_usage());
    }
    let access = access_of(&String::from_utf8_lossy(access))?;
    let role = String::from_utf8_lossy(role).into_owned();
    let keys = permission_keys(context, keys)?;
    let response = patient(context).await?.role_grant_permission(&role, access, keys).await?;
    changed(context, format!("Role {role} updated"), response.header)
}

fn grant_usage() -> Failure {
    Failure::arguments(
        "role grant command requires role name, permission type, and key [endkey] as its argument",
    )
}

fn access_of(name: &str) -> Result<Access, Failure> {
    match name.to_uppercase().as_str() {
        "READ" => Ok(Access::Read),
        "WRITE" => Ok(Access::Write),
        "READWRITE" => Ok(Access::ReadWrite),
        _ => Err(Failure::arguments(format!("invalid permission type: {name}"))),
    }
}

pub(super) async fn role_revoke_permission(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let [role, keys @ ..] = words.as_slice() else {
        return Err(revoke_usage());
    };
    let [key, ..] = keys else {
        return Err(revoke_usage());
    };
    let role = String::from_utf8_lossy(role).into_owned();
    let keys = permission_keys(context, keys)?;
    let end = keys.range_end().to_vec();
    let response = patient(context).await?.role_revoke_permission(&role, keys).await?;
    let key = String::from_utf8_lossy(key);
    let what = match end.as_slice() {
        b"" => format!("key {key}"),
        b"\0" => format!("range [{key}, <open ended>"),
        end => format!("range [{key}, {})", String::from_utf8_lossy(end)),
    };
    changed(context, format!("Permission of {what} is revoked from role {role}"), response.header)
}

fn revoke_usage() -> Failure {
    Failure::arguments("role revoke-permission command requires role name and key [endkey] as its argument")
}

/// The keys of a permission; the empty key with a flag means all keys.
fn permission_keys(context: &Context, words: &[Vec<u8>]) -> Result<Keys, Failure> {
    let (prefix, from_key) = (context.args.bool("prefix"), context.args.bool("from-key"));
    let exclusive = || Failure::arguments("--from-key and --prefix flags are mutually exclusive");
    match words {
        [key, ..] if key.is_empty() => match (prefix, from_key) {
            (true, true) => Err(exclusive()),
            (false, false) => Ok(Keys::one(&b"\0"[..])),
            (true, false) | (false, true) => Ok(Keys::all()),
        },
        [key] => match (prefix, from_key) {
            (true, true) => Err(exclusive()),
            (true, false) => Ok(Keys::prefix(key.clone())),
            (false, true) => Ok(Keys::from_key(key.clone())),
            (false, false) => Ok(Keys::one(key.clone())),
        },
        [_, ..] if prefix => Err(Failure::arguments("unexpected endkey argument with --prefix flag")),
        [_, ..] if from_key => Err(Failure::arguments("unexpected endkey argument with --from-key flag")),
        [key, end, ..] => Ok(Keys::between(key.clone(), end.clone())),
        [] => Err(Failure::new(Exit::Arguments, "a permission needs a key")),
    }
}
