//! Checks JSON against the published description, strictly: what a schema does not name may not be there, and a word of a schema that is not
//! known here is an error.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value};

/// What a schema may say that has no part in whether a value fits.
const REMARKS: [&str; 2] = ["description", "format"];

/// The published description, and which of its properties and alternatives values have had.
pub struct Description {
    document: Value,
    met: BTreeSet<String>,
}

/// Whether a body of a call or the body of its answer is meant.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Body,
    Answer,
}

impl Description {
    pub fn new(document: Value) -> Self {
        Self { document, met: BTreeSet::new() }
    }

    /// Every path with its methods, in lower case.
    pub fn operations(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let operations =
            paths.iter().flat_map(|(path, item)| item.as_object().expect("a path item").keys().map(move |method| (path, method)));
        operations.map(|(path, method)| (method.clone(), path.clone())).collect()
    }

    /// Where the schema of a JSON body stands, if the operation has one.
    pub fn json(&self, method: &str, path: &str, side: Side) -> Option<String> {
        let operation = format!("/paths/{}/{method}", escaped(path));
        let content = match side {
            Side::Body => format!("{operation}/requestBody/content"),
            Side::Answer => {
                let responses = self.document.pointer(&format!("{operation}/responses"))?.as_object()?;
                let success = responses.keys().find(|status| status.starts_with('2'))?;
                format!("{operation}/responses/{success}/content")
            }
        };
        let schema = format!("{content}/application~1json/schema");
        self.document.pointer(&schema).map(|_| schema)
    }

    /// Where the schema of a component stands.
    pub fn component(name: &str) -> String {
        format!("/components/schemas/{name}")
    }

    /// Checks a value against the schema that stands at a place.
    pub fn check(&mut self, schema: &str, value: &Value) -> Result<(), String> {
        let mut met = BTreeSet::new();
        self.fits(schema, value, &mut met)?;
        self.met.extend(met);
        Ok(())
    }

    /// The words of which a value may be, or by which an alternative is known: an `enum`, or the alternatives of a `oneOf`.
    pub fn words(&self, schema: &str) -> BTreeSet<String> {
        let schema = self.at(schema);
        let strings = |values: &Value| -> Vec<String> {
            values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        match schema.get("oneOf").and_then(Value::as_array) {
            None => strings(&schema["enum"]).into_iter().collect(),
            Some(alternatives) => alternatives
                .iter()
                .flat_map(|one| strings(if one.get("enum").is_some() { &one["enum"] } else { &one["required"] }))
                .collect(),
        }
    }

    /// Properties and alternatives that no value has had.
    pub fn unmet(&self) -> Vec<String> {
        let mut all = BTreeSet::new();
        for name in self.at("/components/schemas").as_object().expect("components").keys() {
            self.named_in(&Self::component(name), &mut all);
        }
        all.difference(&self.met).cloned().collect()
    }

    fn at(&self, place: &str) -> &Value {
        self.document.pointer(place).unwrap_or_else(|| panic!("nothing is described at {place}"))
    }

    fn named_in(&self, place: &str, all: &mut BTreeSet<String>) {
        let schema = self.at(place);
        for name in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            let property = format!("{place}/properties/{}", escaped(name));
            self.named_in(&property, all);
            all.insert(property);
        }
        for (index, one) in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
            // Whether null is written or the property left out is the same to everyone.
            if one["type"] != "null" {
                let alternative = format!("{place}/oneOf/{index}");
                self.named_in(&alternative, all);
                all.insert(alternative);
            }
        }
        for inside in ["items", "additionalProperties"] {
            if schema.get(inside).is_some_and(Value::is_object) {
                self.named_in(&format!("{place}/{inside}"), all);
            }
        }
    }

    fn fits(&self, place: &str, value: &Value, met: &mut BTreeSet<String>) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{place}: {what}: {value}"));
        let Value::Object(schema) = self.at(place) else { return wrong("nothing fits here") };
        for (word, said) in schema {
            let fits = match (word.as_str(), said) {
                ("$ref", Value::String(target)) => {
                    self.fits(target.strip_prefix('#').expect("of this document"), value, met)?;
                    true
                }
                ("oneOf", Value::Array(alternatives)) => self.fits_one(place, alternatives.len(), value, met)?,
                ("type", Value::Array(types)) => types.iter().any(|one| is_of_type(one, value)),
                ("type", one) => is_of_type(one, value),
                ("enum", Value::Array(values)) => values.contains(value),
                ("minimum", least) => value.is_null() || value.as_f64() >= least.as_f64(),
                ("maximum", most) => value.is_null() || value.as_f64() <= most.as_f64(),
                ("pattern", Value::String(pattern)) => {
                    let pattern = Regex::new(pattern).expect("a pattern");
                    value.as_str().is_some_and(|text| pattern.is_match(text))
                }
                ("required", Value::Array(names)) => names.iter().filter_map(Value::as_str).all(|name| value.get(name).is_some()),
                // Names that are not among the properties are what the others are about.
                ("properties", Value::Object(properties)) => {
                    self.fits_properties(place, properties, value, met)?;
                    true
                }
                ("additionalProperties" | "propertyNames" | "prefixItems", _) => true,
                ("items", Value::Object(_)) => {
                    value.as_array().into_iter().flatten().try_for_each(|one| self.fits(&format!("{place}/items"), one, met))?;
                    true
                }
                ("items", Value::Bool(false)) => {
                    let count = schema["prefixItems"].as_array().map_or(0, Vec::len);
                    let values = value.as_array().filter(|values| values.len() == count);
                    let Some(values) = values else { return wrong("another number of values") };
                    for (index, one) in values.iter().enumerate() {
                        self.fits(&format!("{place}/prefixItems/{index}"), one, met)?;
                    }
                    true
                }
                (remark, _) if REMARKS.contains(&remark) => true,
                _ => panic!("{place}: `{word}` is not understood"),
            };
            if !fits {
                return wrong(word);
            }
        }
        if let (Some(object), false) = (value.as_object(), schema.contains_key("$ref") || schema.contains_key("oneOf")) {
            self.fits_others(place, schema, object, met)?;
        }
        Ok(())
    }

    fn fits_one(&self, place: &str, count: usize, value: &Value, met: &mut BTreeSet<String>) -> Result<bool, String> {
        let mut reasons = Vec::new();
        let mut fitting = 0;
        for index in 0..count {
            let alternative = format!("{place}/oneOf/{index}");
            let mut inside = BTreeSet::from([alternative.clone()]);
            match self.fits(&alternative, value, &mut inside) {
                Ok(()) => {
                    fitting += 1;
                    met.extend(inside);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if fitting == 0 { Err(reasons.join("\n")) } else { Ok(fitting == 1) }
    }

    fn fits_properties(
        &self,
        place: &str,
        properties: &Map<String, Value>,
        value: &Value,
        met: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        for name in properties.keys() {
            if let Some(inside) = value.get(name) {
                let property = format!("{place}/properties/{}", escaped(name));
                self.fits(&property, inside, met)?;
                met.insert(property);
            }
        }
        Ok(())
    }

    /// What is not among the properties is something that the schema speaks of, or it may not be there.
    fn fits_others(
        &self,
        place: &str,
        schema: &Map<String, Value>,
        object: &Map<String, Value>,
        met: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let is_property = |name: &str| schema.get("properties").is_some_and(|properties| properties.get(name).is_some());
        for (name, value) in object.iter().filter(|(name, _)| !is_property(name)) {
            if !schema.get("additionalProperties").is_some_and(Value::is_object) {
                return Err(format!("{place}: `{name}` is not described"));
            }
            self.fits(&format!("{place}/additionalProperties"), value, met)?;
            if schema.contains_key("propertyNames") {
                self.fits(&format!("{place}/propertyNames"), &Value::String(name.clone()), met)?;
            }
        }
        Ok(())
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("the name of a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type `{other}` is not understood"),
    }
}

/// As a step of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
