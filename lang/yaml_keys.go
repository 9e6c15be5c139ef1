package lang

// level is a kind of YAML mapping with the keys it may have. The reader and the
// JSON Schema are made from the same levels.
type level struct {
	name     string // as in "a rule"
	keys     []yamlKey
	required []string
}

// yamlKey is a key, what it is for, and the JSON Schema of its value.
type yamlKey struct {
	name, doc string
	value     object
}

func (l level) names() []string {
	names := make([]string, len(l.keys))
	for i, k := range l.keys {
		names[i] = k.name
	}
	return names
}

func (l level) has(key string) bool {
	for _, k := range l.keys {
		if k.name == key {
			return true
		}
	}
	return false
}

var (
	policyLevel = level{"a policy", []yamlKey{
		{"version", "Version of the language.", object{"const": 1}},
		{"policy", "Name of the policy.", ref("id")},
		{"hook", "When the policy is asked: connect, the default, judges outbound connections, accept inbound ones.", enum(hooks[:])},
		{"default", "Verdict on what no rule matches. Required, except in a file that is only imported.", ref("verdict")},
		{"mode", "enforce, the default, or audit: decide, count and log, but let every connection proceed.", enum(modes[:])},
		{"on_unknown", "Whether a rule whose condition is unknown matches: under fail-closed, the default, it does if it denies, under fail-open if it allows.", enum(onUnknowns[:])},
		{"import", "Files whose sets, interfaces and rules come first; paths are relative to this file.", oneOrMore(object{"type": "string"}, 0)},
		{"sets", "Named lists of values, written $name in conditions.", named(ref("set"))},
		{"interfaces", "Named interfaces, written $name in conditions, that the host looks up when the policy runs.", named(ref("interface"))},
		{"rules", "Rules in order: the first that matches decides.", list(ref("rule"), 0)},
		{"asserts", "Claims about every possible connection, checked by `hopgate prove`.", list(ref("assert"), 0)},
		{"tests", "Connections with the verdict they should get, checked by `hopgate test`.", list(ref("test"), 0)},
	}, nil}
	testsLevel = level{"a file of tests", policyLevel.keys[len(policyLevel.keys)-2:], nil}

	setLevel = level{"a set", []yamlKey{
		{"dynamic", "Whether the set can change while the policy runs.", object{"type": "boolean"}},
		{"values", "The values of the set.", list(ref("value"), 0)},
		{"file", "A file with one value a line; the path is relative to this file.", object{"type": "string"}},
	}, nil}
	interfaceLevel = level{"an interface", []yamlKey{
		{"alias", "Friendly name of the interface; on Linux the device name.", object{"type": "string"}},
		{"luid", "LUID of the interface.", object{"type": []string{"string", "integer"}}},
		{"guid", "GUID of the interface.", object{"type": "string"}},
		{"name", "Name of the interface; on Linux the device name.", object{"type": "string"}},
	}, nil}
	ruleLevel = level{"a rule", append([]yamlKey{
		{"id", "Name of the rule, which decisions are reported with.", ref("id")},
		{"action", "Verdict of the rule.", ref("verdict")},
		{"log", "Write an event when the rule decides.", object{"type": "boolean"}},
		{"audit", "Count and log only: the other rules decide as if this one were not there.", object{"type": "boolean"}},
	}, conditionKeys...), []string{"id", "action"}}
	assertLevel = level{"an assert", append([]yamlKey{
		{"id", "Name of the assert.", ref("id")},
		{"never", "The verdict that no connection of the condition may get.", ref("verdict")},
		{"always", "The verdict that every connection of the condition must get.", ref("verdict")},
	}, conditionKeys...), []string{"id"}}
	testLevel = level{"a test", []yamlKey{
		{"given", "The connection: a value for each field. Network-context fields not given are unknown, the rest 0.", ref("given")},
		{"expect", "The verdict it should get.", ref("verdict")},
		{"by", "The rule that should decide; any, if absent.", ref("id")},
	}, []string{"expect"}}

	conditionKeys = []yamlKey{
		{"match", "Every field must have its value, or one of a list.", ref("match")},
		{"any_of", "Match blocks, one of which must hold.", oneOrMore(ref("match"), 1)},
		{"unless", "Match blocks, none of which may hold.", oneOrMore(ref("match"), 1)},
		{"if", "A condition in the spelling of the DSL.", object{"type": "string", "minLength": 1}},
	}

	levels = [...]level{policyLevel, ruleLevel, assertLevel, testLevel, setLevel, interfaceLevel}
)
