//! Reads a TSV with a header and prints the probability of a positive for every row:
//!
//!     rustc -O -L . score.rs
//!     LD_LIBRARY_PATH=. ./score ctr.score < today.tsv
//!
//! with the library that adagrad/adagrad_score.h says how to compile.
use std::ffi::{CStr, CString};
use std::io::BufRead;
use std::os::raw::{c_char, c_void};

/// What adagrad/adagrad_score.h declares.
mod c {
    use super::{c_char, c_void};

    pub const ABI: i32 = 1;
    pub const NULL: i32 = 0;
    pub const INTEGER: i32 = 2;
    pub const REAL: i32 = 4;
    pub const TEXT: i32 = 6;

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub union Content {
        pub integer: i64,
        pub real: f64,
        pub text: *const u8,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Value {
        pub kind: i32,
        pub size: usize,
        pub content: Content,
    }

    #[link(name = "adagrad_score")]
    extern "C" {
        pub fn adagrad_score_abi() -> i32;
        pub fn adagrad_score_open(
            path: *const c_char,
            error: *mut c_char,
            size: usize,
        ) -> *mut c_void;
        pub fn adagrad_score_close(model: *mut c_void);
        pub fn adagrad_score_columns(model: *const c_void) -> usize;
        pub fn adagrad_score_column_name(model: *const c_void, column: usize) -> *const c_char;
        pub fn adagrad_score_column_type(model: *const c_void, column: usize) -> *const c_char;
        pub fn adagrad_score_predict(
            model: *const c_void,
            rows: *const Value,
            n: usize,
            probabilities: *mut f64,
            error: *mut c_char,
            size: usize,
        ) -> usize;
    }
}

type Error = Box<dyn std::error::Error>;

/// A value of a row.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Missing,
    Integer(i64),
    Real(f64),
    Text(&'a str),
}

impl Value<'_> {
    fn to_c(self) -> c::Value {
        let (kind, size, content) = match self {
            Value::Missing => (c::NULL, 0, c::Content { integer: 0 }),
            Value::Integer(integer) => (c::INTEGER, 0, c::Content { integer }),
            Value::Real(real) => (c::REAL, 0, c::Content { real }),
            Value::Text(text) => (
                c::TEXT,
                text.len(),
                c::Content {
                    text: text.as_ptr(),
                },
            ),
        };
        c::Value {
            kind,
            size,
            content,
        }
    }
}

pub struct Column {
    pub name: String,
    pub kind: String,
}

/// A model, which any number of threads may share.
pub struct Model {
    model: *mut c_void,
    pub columns: Vec<Column>,
}

unsafe impl Send for Model {}
unsafe impl Sync for Model {}

impl Model {
    pub fn open(path: &str) -> Result<Model, Error> {
        let path = CString::new(path)?;
        let mut error = [0 as c_char; 256];
        // The library reads the path, writes into the error, and its texts outlive the copies.
        unsafe {
            if c::adagrad_score_abi() != c::ABI {
                return Err("the library is of another version".into());
            }
            let model = c::adagrad_score_open(path.as_ptr(), error.as_mut_ptr(), error.len());
            if model.is_null() {
                return Err(CStr::from_ptr(error.as_ptr()).to_string_lossy().into());
            }
            let text = |p| CStr::from_ptr(p).to_string_lossy().into_owned();
            let columns = (0..c::adagrad_score_columns(model))
                .map(|i| Column {
                    name: text(c::adagrad_score_column_name(model, i)),
                    kind: text(c::adagrad_score_column_type(model, i)),
                })
                .collect();
            Ok(Model { model, columns })
        }
    }

    /// The probability of a positive for a row with a value for every column.
    pub fn predict(&self, row: &[Value]) -> Result<f64, Error> {
        if row.len() != self.columns.len() {
            return Err(format!("{} values for {} columns", row.len(), self.columns.len()).into());
        }
        let row: Vec<c::Value> = row.iter().map(|value| value.to_c()).collect();
        let mut probability = 0.0;
        let mut error = [0 as c_char; 256];
        // Texts of the row live until the call returns.
        unsafe {
            let (to, size) = (error.as_mut_ptr(), error.len());
            match c::adagrad_score_predict(self.model, row.as_ptr(), 1, &mut probability, to, size)
            {
                1 => Ok(probability),
                _ => Err(CStr::from_ptr(to).to_string_lossy().into()),
            }
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { c::adagrad_score_close(self.model) }
    }
}

/// The value of a cell, as the type of its column says.
fn value_of<'a>(column: &Column, cell: &'a str) -> Result<Value<'a>, Error> {
    Ok(match column.kind.as_str() {
        _ if cell.is_empty() => Value::Missing,
        kind if kind.starts_with("int") => Value::Integer(cell.parse()?),
        "double" => Value::Real(cell.parse()?),
        _ => Value::Text(cell),
    })
}

fn main() -> Result<(), Error> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: score EXPORT <ROWS.tsv")?;
    let model = Model::open(&path)?;
    let mut lines = std::io::stdin().lock().lines();
    let header = lines.next().ok_or("no header")??;
    let names: Vec<&str> = header.split('\t').collect();
    let places = model
        .columns
        .iter()
        .map(|column| {
            let place = names.iter().position(|name| *name == column.name);
            place.ok_or_else(|| format!("there is no column {}", column.name))
        })
        .collect::<Result<Vec<usize>, String>>()?;
    for line in lines {
        let line = line?;
        let cells: Vec<&str> = line.split('\t').collect();
        let row = model
            .columns
            .iter()
            .zip(&places)
            .map(|(column, &place)| value_of(column, cells.get(place).ok_or("a short row")?))
            .collect::<Result<Vec<Value>, Error>>()?;
        println!("{:?}", model.predict(&row)?);
    }
    Ok(())
}
