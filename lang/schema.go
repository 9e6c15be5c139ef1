package lang

import (
	"encoding/json"
	"maps"
	"slices"
)

// object is a piece of JSON Schema.
type object map[string]any

// Schema gives the JSON Schema (draft 2020-12) of the YAML syntax, for editors to
// complete and to check with. It knows every key, verdict, field and name; what
// only the whole policy shows, such as a set that is not there, it leaves to
// Parse and to package compiler.
func Schema() []byte {
	defs := object{
		"id":        described("A lower-case letter, then lower-case letters, digits, - and _.", object{"type": "string", "pattern": "^[a-z][a-z0-9_-]*$"}),
		"verdict":   described("allow: other filters may still block. allow-hard: they cannot. deny: block.", enum(verdictNames[:])),
		"value":     described("A literal, or $name.", valueSchema()),
		"set":       setSchema(),
		"interface": levelSchema(interfaceLevel, object{"minProperties": 1, "maxProperties": 1}),
		"rule":      levelSchema(ruleLevel, nil),
		"assert":    levelSchema(assertLevel, object{"oneOf": []object{{"required": []string{"never"}}, {"required": []string{"always"}}}}),
		"test":      levelSchema(testLevel, nil),
	}
	match, given := object{}, object{}
	for _, f := range fields {
		defs["field-"+f.name] = fieldSchema(f.name)
		match[f.name] = described(f.doc, oneOrMore(ref("field-"+f.name), 1))
		given[f.name] = described(f.doc, ref("field-"+f.name))
	}
	defs["match"] = object{"type": "object", "properties": match, "additionalProperties": false, "minProperties": 1}
	defs["given"] = object{"type": "object", "properties": given, "additionalProperties": false}
	root := levelSchema(policyLevel, object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "hopgate policy",
		"description": "A connection-authorization policy: ordered rules, the first that matches decides.",
		"$defs":       defs,
	})
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("lang: " + err.Error())
	}
	return append(text, '\n')
}

// levelSchema makes the schema of a mapping, with some more constraints.
func levelSchema(l level, more object) object {
	properties := object{}
	for _, k := range l.keys {
		properties[k.name] = described(k.doc, k.value)
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(l.required) > 0 {
		s["required"] = l.required
	}
	maps.Copy(s, more)
	return s
}

func setSchema() object {
	return object{"anyOf": []object{
		list(ref("value"), 1),
		levelSchema(setLevel, object{
			"oneOf": []object{{"required": []string{"values"}}, {"required": []string{"file"}}},
			"if":    object{"properties": object{"dynamic": object{"const": true}}, "required": []string{"dynamic"}},
			"else":  object{"properties": object{"values": object{"minItems": 1}}},
		}),
	}}
}

// fieldSchema describes the literals of a field. It is looser than the language:
// an address that a pattern takes need not be one.
func fieldSchema(field string) object {
	alternatives := []object{{"type": "string", "pattern": `^\$[a-z][a-z0-9_-]*$`}}
	number := func(most uint64) {
		alternatives = append(alternatives, object{"type": "integer", "minimum": 0, "maximum": most})
	}
	pattern := func(p string) { alternatives = append(alternatives, object{"type": "string", "pattern": p}) }
	switch field {
	case "interface_type":
		alternatives = append(alternatives, enum(append(InterfaceTypeNames(), "unknown")))
		number(1<<32 - 1)
		pattern(`^[0-9]+$`)
	case "tunnel_type":
		alternatives = append(alternatives, enum(append(TunnelTypeNames(), "unknown")))
		number(1<<32 - 1)
		pattern(`^[0-9]+$`)
	case "next_hop", "interface":
		alternatives = append(alternatives, enum([]string{"unknown"}))
		number(1<<64 - 1)
		pattern(`^(0x[0-9A-Fa-f]+|[a-z0-9]+_[0-9]+)$`)
	case "sub_interface":
		alternatives = append(alternatives, enum([]string{"unknown"}))
		number(1<<32 - 1)
		pattern(`^[0-9]+(-[0-9]+)?$`)
	case "compartment":
		number(1<<32 - 1)
		pattern(`^[0-9]+(-[0-9]+)?$`)
	case "remote_address", "local_address":
		pattern(`^[0-9A-Fa-f:.]+(/[0-9]+|-[0-9A-Fa-f:.]+)?$`)
	case "remote_port", "local_port":
		number(1<<16 - 1)
		pattern(`^[0-9]+(-[0-9]+)?(/(tcp|udp))?$`)
	case "remote", "local":
		pattern(`^[0-9A-Fa-f:.]+(/[0-9]+|-[0-9A-Fa-f:.]+)?$`)
		pattern(`^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+(-[0-9]+)?(/(tcp|udp))?$`)
	case "protocol":
		alternatives = append(alternatives, enum(ProtocolNames()))
		number(1<<8 - 1)
		pattern(`^[0-9]+$`)
	case "family":
		alternatives = append(alternatives, enum([]string{"ipv4", "ipv6"}))
	default:
		panic("lang: no schema for field " + field)
	}
	return object{"anyOf": alternatives}
}

// valueSchema describes a literal of any field. Numbers need no quotes, and
// editors read `1e3` as one.
func valueSchema() object {
	return object{"anyOf": []object{{"type": "string", "pattern": `^\$?[0-9A-Za-z_.:/\[\]-]+$`}, {"type": "integer"}}}
}

func described(doc string, s object) object {
	s = maps.Clone(s)
	s["description"] = doc
	return s
}

func ref(def string) object { return object{"$ref": "#/$defs/" + def} }

func enum(words []string) object { return object{"enum": slices.Clone(words)} }

func list(item object, least int) object {
	s := object{"type": "array", "items": item}
	if least > 0 {
		s["minItems"] = least
	}
	return s
}

func oneOrMore(item object, least int) object {
	return object{"anyOf": []object{item, list(item, least)}}
}

// named is a mapping from ids.
func named(item object) object {
	return object{"type": "object", "additionalProperties": item, "propertyNames": ref("id")}
}
