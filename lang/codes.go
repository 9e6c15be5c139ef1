package lang

// Code documents a diagnostic code. Bad is a policy that gets it, Good the same
// policy put right.
type Code struct {
	Name        string
	Severity    Severity
	Title       string // one line, lower case
	Explanation string
	Syntax      Syntax // of the examples
	Bad, Good   string
}

const (
	codeBadID            = "bad-id"
	codeConflict         = "conflict"
	codeDuplicateKey     = "duplicate-key"
	codeEmpty            = "empty"
	codeEmptyFile        = "empty-file"
	codeLimit            = "limit"
	codeMissingKey       = "missing-key"
	codeNull             = "null"
	codeQuote            = "quote"
	codeString           = "string"
	codeSyntax           = "syntax"
	codeUnknownKey       = "unknown-key"
	codeUnknownStatement = "unknown-statement"
	codeUnknownValue     = "unknown-value"
	codeUnreadable       = "unreadable"
	codeWrongKind        = "wrong-kind"
	codeYAML             = "yaml"
	codeYAMLSyntax       = "yaml-syntax"
)

// Codes lists the codes of what Parse reports, by name.
func Codes() []Code {
	return []Code{{
		Name:  codeBadID,
		Title: "a name is not an id",
		Explanation: "Policies, sets, interfaces, rules and asserts are named by ids: a lower-case letter, then lower-case\n" +
			"letters, digits, `-` and `_`. No rule may be called `default`: the decisions of the default are reported\n" +
			"under that name.",
		Bad:  "policy corp {\n  default deny\n  rule Block_SMB: deny if remote_port == 445\n}\n",
		Good: "policy corp {\n  default deny\n  rule block_smb: deny if remote_port == 445\n}\n",
	}, {
		Name:  codeConflict,
		Title: "two keys exclude each other",
		Explanation: "A set has its values in the policy or in a file, an interface is named in one way, and an assert says\n" +
			"`never` or `always`.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: deny\ninterfaces:\n  vpn: {alias: Corp VPN, luid: '0x0035008000000000'}\n",
		Good:   "policy: corp\ndefault: deny\ninterfaces:\n  vpn: {alias: Corp VPN}\n",
	}, {
		Name:  codeDuplicateKey,
		Title: "something is given twice",
		Explanation: "A setting, a YAML key or a field of a test may be given once. The second is an error, so that no part of\n" +
			"a policy is silently without effect.",
		Bad:  "policy corp {\n  default allow\n  default deny\n}\n",
		Good: "policy corp {\n  default deny\n}\n",
	}, {
		Name:  codeEmpty,
		Title: "a block or a list is empty",
		Explanation: "An empty list of values matches nothing and an empty block of conditions everything, which is rarely\n" +
			"meant. Only a dynamic set may be empty, as it can be filled while the policy runs.",
		Bad:  "policy corp {\n  default deny\n  set admins = { }\n}\n",
		Good: "policy corp {\n  default deny\n  set admins dynamic = { }\n}\n",
	}, {
		Name:        codeEmptyFile,
		Title:       "the file holds no policy",
		Explanation: "The file is empty, or a YAML file of comments only. A policy has a `default` at least.",
		Syntax:      YAML,
		Bad:         "# nothing here yet\n",
		Good:        "# nothing here yet\npolicy: corp\ndefault: deny\n",
	}, {
		Name:  codeLimit,
		Title: "the policy is too large, or nests too deeply",
		Explanation: "A policy may have 32 MiB. Conditions and YAML values nest to a depth of 100, and a YAML file has a million\n" +
			"values, aliases counted as what they stand for. After 100 errors the rest is not shown.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: deny\nsets:\n  admins: &admins [10.0.0.1, *admins]\n",
		Good:   "policy: corp\ndefault: deny\nsets:\n  admins: [10.0.0.1]\n",
	}, {
		Name:  codeMissingKey,
		Title: "a required key is missing",
		Explanation: "A rule needs `id` and `action`; an assert `id` and one of `never` and `always`; a test `expect`; a set\n" +
			"values or a file; an interface one of `alias`, `luid`, `guid` and `name`.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: allow\nrules:\n  - id: no-smb\n    match: {remote_port: 445}\n",
		Good:   "policy: corp\ndefault: allow\nrules:\n  - id: no-smb\n    action: deny\n    match: {remote_port: 445}\n",
	}, {
		Name:  codeNull,
		Title: "a YAML key has no value",
		Explanation: "Nothing in a policy may be null: neither a key without a value nor `null` or `~`. For the word itself,\n" +
			"write it in quotes.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: deny\nrules:\n",
		Good:   "policy: corp\ndefault: deny\nrules: []\n",
	}, {
		Name:  codeQuote,
		Title: "a value must be quoted in YAML",
		Explanation: "YAML takes a word that ends in a colon for a key, and `[...]` for a list. Addresses such as `fd00::` and\n" +
			"`[::1]:443` need quotes.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: deny\nsets:\n  local:\n    - fd00::\n",
		Good:   "policy: corp\ndefault: deny\nsets:\n  local:\n    - 'fd00::'\n",
	}, {
		Name:        codeString,
		Title:       "a string is not well formed",
		Explanation: "A string stands between `\"` on one line, without control characters. Its escapes are `\\\"` and `\\\\`.",
		Bad:         "policy corp {\n  default deny\n  interface vpn = alias \"Corp\\tVPN\"\n}\n",
		Good:        "policy corp {\n  default deny\n  interface vpn = alias \"Corp VPN\"\n}\n",
	}, {
		Name:  codeSyntax,
		Title: "the text does not follow the grammar",
		Explanation: "Something else should stand here. Reading goes on with the next statement, so one run shows the errors of\n" +
			"all statements.",
		Bad:  "policy corp {\n  default deny\n  rule dns: allow if remote_port = 53\n}\n",
		Good: "policy corp {\n  default deny\n  rule dns: allow if remote_port == 53\n}\n",
	}, {
		Name:  codeUnknownKey,
		Title: "a YAML key is not known here",
		Explanation: "The key is misspelt, or belongs somewhere else: conditions on fields stand under `match`, `any_of` or\n" +
			"`unless`.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: allow\nrules:\n  - id: no-smb\n    action: deny\n    remote_port: 445\n",
		Good:   "policy: corp\ndefault: allow\nrules:\n  - id: no-smb\n    action: deny\n    match: {remote_port: 445}\n",
	}, {
		Name:  codeUnknownStatement,
		Title: "a statement is not known",
		Explanation: "A statement begins with hook, default, mode, on, set, interface, rule, assert or test. A condition that\n" +
			"goes on needs `and` or `or`.",
		Bad:  "policy corp {\n  default deny\n  ruel dns: allow if remote_port == 53\n}\n",
		Good: "policy corp {\n  default deny\n  rule dns: allow if remote_port == 53\n}\n",
	}, {
		Name:  codeUnknownValue,
		Title: "a setting has no such value",
		Explanation: "Verdicts are allow, allow hard (in YAML allow-hard) and deny; a hook is connect or accept; a mode enforce\n" +
			"or audit; on unknown is fail-closed or fail-open; a flag true or false.",
		Bad:  "policy corp {\n  default reject\n}\n",
		Good: "policy corp {\n  default deny\n}\n",
	}, {
		Name:        codeUnreadable,
		Title:       "the file is not a policy text",
		Explanation: "A policy is text in UTF-8, in a file whose name ends in .hop, .yaml or .yml.",
		Bad:         "policy corp {\n  default deny # caf\xe9\n}\n",
		Good:        "policy corp {\n  default deny # café\n}\n",
	}, {
		Name:        codeWrongKind,
		Title:       "a list, a mapping or a single value stands where another should",
		Explanation: "Each key takes one kind of value. Only fields of a condition take one value or a list of them.",
		Syntax:      YAML,
		Bad:         "policy: corp\ndefault: deny\nhook: [connect]\n",
		Good:        "policy: corp\ndefault: deny\nhook: connect\n",
	}, {
		Name:  codeYAML,
		Title: "a part of YAML that policies do without",
		Explanation: "Tags, `<<` merges and second documents have no meaning in a policy. Values are read as they are written,\n" +
			"so no tag is ever needed; anchors and aliases may be used.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: deny\nsets:\n  web: [!!int 80]\n",
		Good:   "policy: corp\ndefault: deny\nsets:\n  web: [80]\n",
	}, {
		Name:  codeYAMLSyntax,
		Title: "the file is not YAML",
		Explanation: "The YAML reader gives no more than a line, and stops at the first error. Often a value needs quotes: `[::1]`,\n" +
			"`fd00::`, or text with `: ` in it.",
		Syntax: YAML,
		Bad:    "policy: corp\ndefault: deny\nsets:\n  local: [[::1]:443]\n",
		Good:   "policy: corp\ndefault: deny\nsets:\n  local: ['[::1]:443']\n",
	}}
}
