//! The functions that bake files may call: those of HCL's standard library that Docker's bake has, and its own.
//!
//! A function says which parameters it has; the caller converts arguments to their types and refuses nulls. `try`,
//! `can` and `convert` look at expressions and not at values: they are the evaluator's.

mod arguments;
mod cidr;
mod collections;
mod crypto;
mod csv;
mod dates;
mod format;
mod numbers;
mod regexes;
mod sets;
mod strings;
mod versions;

use crate::value::{Type, Value};
pub use arguments::{Arguments, Failure};
pub use csv::fields;
pub use numbers::{difference, product, quotient, remainder, sum};

/// What a function returns.
pub type Outcome = Result<Value, Failure>;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Any,
    /// Anything, or null.
    Nullable,
    String,
    Number,
    Bool,
    Strings,
    List,
    Set,
    /// Raw bytes, which no expression gives.
    Bytes,
}

impl Kind {
    pub fn wanted(self) -> Type {
        match self {
            Kind::Any | Kind::Nullable | Kind::Bytes => Type::Any,
            Kind::String => Type::String,
            Kind::Number => Type::Number,
            Kind::Bool => Type::Bool,
            Kind::Strings => Type::list(Type::String),
            Kind::List => Type::list(Type::Any),
            Kind::Set => Type::set(Type::Any),
        }
    }
}

type Parameter = (&'static str, Kind);

/// A function of the library.
pub struct Function {
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    /// What further arguments are.
    pub rest: Option<Parameter>,
    pub call: fn(&Arguments<'_>) -> Outcome,
}

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Function> {
    TABLE.iter().find(|function| function.name == name)
}

/// All names, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|function| function.name).chain(["try", "can", "convert"])
}

const fn plain(
    name: &'static str,
    parameters: &'static [Parameter],
    call: fn(&Arguments<'_>) -> Outcome,
) -> Function {
    Function { name, parameters, rest: None, call }
}

const fn open(
    name: &'static str,
    parameters: &'static [Parameter],
    rest: Parameter,
    call: fn(&Arguments<'_>) -> Outcome,
) -> Function {
    Function { name, parameters, rest: Some(rest), call }
}

const STR: &[Parameter] = &[("str", Kind::String)];
const NUM: &[Parameter] = &[("num", Kind::Number)];
const NUMBERS: &[Parameter] = &[("a", Kind::Number), ("b", Kind::Number)];
const PATH: &[Parameter] = &[("path", Kind::String)];
const ANY_LIST: &[Parameter] = &[("list", Kind::Any)];
const PATTERN: &[Parameter] = &[("pattern", Kind::String), ("string", Kind::String)];
const COLLECTION: &[Parameter] = &[("collection", Kind::Any), ("key", Kind::Any)];
const EQUALS: &[Parameter] = &[("a", Kind::Nullable), ("b", Kind::Nullable)];
const OTHER_SETS: Parameter = ("other_sets", Kind::Set);
const FIRST_SET: &[Parameter] = &[("first_set", Kind::Set)];
const TIME: &[Parameter] = &[("format", Kind::String), ("time", Kind::String)];
const VALUES: Parameter = ("vals", Kind::Nullable);

#[rustfmt::skip]
const TABLE: &[Function] = &[
    plain("absolute", NUM, numbers::absolute),
    plain("add", NUMBERS, numbers::add),
    plain("and", &[("a", Kind::Bool), ("b", Kind::Bool)], |a| Ok((a.truth(0) && a.truth(1)).into())),
    plain("base64decode", STR, crypto::base64decode),
    plain("base64encode", STR, crypto::base64encode),
    plain("basename", PATH, strings::basename),
    open("bcrypt", STR, ("cost", Kind::Number), crypto::bcrypt),
    plain("byteslen", &[("buf", Kind::Bytes)], strings::no_bytes),
    plain("bytesslice", &[("buf", Kind::Bytes), ("offset", Kind::Number), ("length", Kind::Number)], strings::no_bytes),
    plain("ceil", NUM, numbers::ceil),
    plain("chomp", STR, strings::chomp),
    plain("chunklist", &[("list", Kind::List), ("size", Kind::Number)], collections::chunklist),
    plain("cidrhost", &[("prefix", Kind::String), ("hostnum", Kind::Number)], cidr::host),
    plain("cidrnetmask", &[("prefix", Kind::String)], cidr::netmask),
    plain("cidrsubnet", &[("prefix", Kind::String), ("newbits", Kind::Number), ("netnum", Kind::Number)], cidr::subnet),
    open("cidrsubnets", &[("prefix", Kind::String)], ("newbits", Kind::Number), cidr::subnets),
    open("coalesce", &[], VALUES, collections::coalesce),
    open("coalescelist", &[], VALUES, collections::coalescelist),
    plain("compact", &[("list", Kind::Strings)], collections::compact),
    open("concat", &[], ("seqs", Kind::Any), collections::concat),
    plain("contains", &[("list", Kind::Any), ("value", Kind::Nullable)], collections::contains),
    plain("csvdecode", STR, csv::csvdecode),
    plain("dirname", PATH, strings::dirname),
    plain("distinct", &[("list", Kind::List)], collections::distinct),
    plain("divide", NUMBERS, numbers::divide),
    plain("element", &[("list", Kind::Any), ("index", Kind::Number)], collections::element),
    plain("equal", EQUALS, |a| Ok(a.at(0).equals(a.at(1)).into())),
    plain("flatten", ANY_LIST, collections::flatten),
    plain("floor", NUM, numbers::floor),
    open("format", &[("format", Kind::String)], ("args", Kind::Nullable), format::format),
    plain("formatdate", TIME, dates::formatdate),
    plain("formattimestamp", &[("format", Kind::String), ("time", Kind::Any)], dates::formattimestamp),
    open("formatlist", &[("format", Kind::String)], ("args", Kind::Nullable), format::formatlist),
    plain("greaterthan", NUMBERS, |a| Ok((a.number(0) > a.number(1)).into())),
    plain("greaterthanorequalto", NUMBERS, |a| Ok((a.number(0) >= a.number(1)).into())),
    plain("hasindex", COLLECTION, collections::hasindex),
    plain("homedir", &[], |a| Ok(a.home().into())),
    plain("indent", &[("spaces", Kind::Number), ("str", Kind::String)], strings::indent),
    plain("index", COLLECTION, collections::index),
    plain("indexof", &[("list", Kind::Any), ("value", Kind::Any)], collections::indexof),
    plain("int", NUM, numbers::int),
    open("join", &[("separator", Kind::String)], ("lists", Kind::Strings), strings::join),
    plain("jsondecode", STR, strings::jsondecode),
    plain("jsonencode", &[("val", Kind::Nullable)], |a| Ok(crate::value::document(a.at(0))?.into())),
    plain("keys", &[("inputMap", Kind::Any)], collections::keys),
    plain("length", &[("collection", Kind::Any)], collections::length),
    plain("lessthan", NUMBERS, |a| Ok((a.number(0) < a.number(1)).into())),
    plain("lessthanorequalto", NUMBERS, |a| Ok((a.number(0) <= a.number(1)).into())),
    plain("log", &[("num", Kind::Number), ("base", Kind::Number)], numbers::log),
    plain("lookup", &[("inputMap", Kind::Any), ("key", Kind::String), ("default", Kind::Any)], collections::lookup),
    plain("lower", STR, |a| Ok(template::letters::lower(a.text(0)).into())),
    open("max", &[], ("numbers", Kind::Number), numbers::max),
    plain("md5", STR, crypto::md5),
    open("merge", &[], ("maps", Kind::Nullable), collections::merge),
    open("min", &[], ("numbers", Kind::Number), numbers::min),
    plain("modulo", NUMBERS, numbers::modulo),
    plain("multiply", NUMBERS, numbers::multiply),
    plain("negate", NUM, numbers::negate),
    plain("not", &[("val", Kind::Bool)], |a| Ok((!a.truth(0)).into())),
    plain("notequal", EQUALS, |a| Ok((!a.at(0).equals(a.at(1))).into())),
    plain("or", &[("a", Kind::Bool), ("b", Kind::Bool)], |a| Ok((a.truth(0) || a.truth(1)).into())),
    plain("parseint", &[("number", Kind::Any), ("base", Kind::Number)], numbers::parseint),
    plain("pow", &[("num", Kind::Number), ("power", Kind::Number)], numbers::pow),
    open("range", &[], ("params", Kind::Number), numbers::range),
    plain("regex_replace", &[("str", Kind::String), ("pattern", Kind::String), ("replace", Kind::String)], regexes::replace),
    plain("regex", PATTERN, regexes::regex),
    plain("regexall", PATTERN, regexes::regexall),
    plain("replace", &[("str", Kind::String), ("substr", Kind::String), ("replace", Kind::String)], strings::replace),
    plain("reverse", STR, strings::reverse),
    plain("reverselist", ANY_LIST, collections::reverselist),
    plain("rsadecrypt", &[("ciphertext", Kind::String), ("privatekey", Kind::String)], crypto::rsadecrypt),
    plain("sanitize", &[("name", Kind::String)], strings::sanitize),
    plain("semvercmp", &[("version", Kind::String), ("contraint", Kind::String)], versions::semvercmp),
    plain("sethaselement", &[("set", Kind::Set), ("elem", Kind::Any)], sets::has),
    open("setintersection", FIRST_SET, OTHER_SETS, sets::intersection),
    open("setproduct", &[], ("sets", Kind::Any), sets::product),
    plain("setsubtract", &[("a", Kind::Set), ("b", Kind::Set)], sets::subtract),
    open("setsymmetricdifference", FIRST_SET, OTHER_SETS, sets::symmetric_difference),
    open("setunion", FIRST_SET, OTHER_SETS, sets::union),
    plain("sha1", STR, crypto::sha1),
    plain("sha256", STR, crypto::sha256),
    plain("sha512", STR, crypto::sha512),
    plain("signum", NUM, numbers::signum),
    plain("slice", &[("list", Kind::Any), ("start_index", Kind::Number), ("end_index", Kind::Number)], collections::slice),
    plain("sort", &[("list", Kind::Strings)], strings::sort),
    plain("split", &[("separator", Kind::String), ("str", Kind::String)], strings::split),
    plain("strlen", STR, strings::strlen),
    plain("substr", &[("str", Kind::String), ("offset", Kind::Number), ("length", Kind::Number)], strings::substr),
    plain("subtract", NUMBERS, numbers::subtract),
    plain("timeadd", &[("timestamp", Kind::String), ("duration", Kind::String)], dates::timeadd),
    plain("timestamp", &[], dates::timestamp),
    plain("title", STR, strings::title),
    plain("trim", &[("str", Kind::String), ("cutset", Kind::String)], strings::trim),
    plain("trimprefix", &[("str", Kind::String), ("prefix", Kind::String)], strings::trimprefix),
    plain("trimspace", STR, |a| Ok(a.text(0).trim().into())),
    plain("trimsuffix", &[("str", Kind::String), ("suffix", Kind::String)], strings::trimsuffix),
    plain("unixtimestampparse", &[("unix_timestamp", Kind::Number)], dates::unixtimestampparse),
    plain("upper", STR, |a| Ok(template::letters::upper(a.text(0)).into())),
    plain("urlencode", STR, strings::urlencode),
    plain("uuidv4", &[], crypto::uuidv4),
    plain("uuidv5", &[("namespace", Kind::String), ("name", Kind::String)], crypto::uuidv5),
    plain("values", &[("mapping", Kind::Any)], collections::values),
    plain("zipmap", &[("keys", Kind::Strings), ("values", Kind::Any)], collections::zipmap),
];
