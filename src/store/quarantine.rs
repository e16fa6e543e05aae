//! Reads all records, and sets those aside that cannot be believed.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params};

use super::records::{self, Unbelievable};
use super::{Record, StoreError};

/// What the store held.
#[derive(Debug)]
pub struct Loaded {
    pub records: Vec<Record>,
    pub quarantined: Vec<Quarantined>,
}

/// A row that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// What its id column says.
    pub id: String,
    pub problem: String,
}

/// A row as it stands, with columns of any type: a damaged row may hold anything.
struct RawRow {
    rowid: i64,
    id: Value,
    id_base: Value,
    digest: Value,
    body: Value,
}

pub(super) fn load_all(connection: &mut Connection) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded { records: Vec::new(), quarantined: Vec::new() };
    let mut bad = Vec::new();
    for row in read(connection).map_err(StoreError::Read)? {
        match believe(&row) {
            Ok(record) => loaded.records.push(record),
            Err(problem) => bad.push((row, problem.to_string())),
        }
    }
    set_aside(connection, &bad).map_err(StoreError::Read)?;
    loaded.quarantined = bad.into_iter().map(|(row, problem)| Quarantined { id: text_of(&row.id), problem }).collect();
    Ok(loaded)
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<RawRow>> {
    let mut statement = connection.prepare("SELECT rowid, id, id_base, digest, body FROM record")?;
    let rows = statement.query_map([], |row: &Row<'_>| {
        Ok(RawRow {
            rowid: row.get(0)?,
            id: raw(row, 1)?,
            id_base: raw(row, 2)?,
            digest: raw(row, 3)?,
            body: raw(row, 4)?,
        })
    })?;
    rows.collect()
}

/// A column as it stands; text that is no UTF-8 becomes a blob, so that it makes one bad row and not a failed read.
fn raw(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(bytes.to_vec()),
        },
        other => other.try_into()?,
    })
}

fn believe(row: &RawRow) -> Result<Record, Unbelievable> {
    let record = records::unseal(bytes_of(&row.body), bytes_of(&row.digest))?;
    if !matches!(&row.id, Value::Text(id) if id == record.id.as_str()) {
        return Err(Unbelievable::Column("id"));
    }
    let base = match row.id_base {
        Value::Null => None,
        Value::Integer(base) => Some(base),
        _ => return Err(Unbelievable::Column("id range")),
    };
    if base != record.id_base.map(i64::from) {
        return Err(Unbelievable::Column("id range"));
    }
    Ok(record)
}

fn set_aside(connection: &mut Connection, bad: &[(RawRow, String)]) -> rusqlite::Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for (row, problem) in bad {
        transaction.execute(
            "INSERT INTO quarantine (id, id_base, digest, body, problem) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.id, row.id_base, row.digest, row.body, problem],
        )?;
        transaction.execute("DELETE FROM record WHERE rowid = ?1", [row.rowid])?;
    }
    transaction.commit()
}

fn bytes_of(value: &Value) -> &[u8] {
    match value {
        Value::Blob(bytes) => bytes,
        Value::Text(text) => text.as_bytes(),
        _ => &[],
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}
