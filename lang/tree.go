// Package lang turns policy text into a syntax tree.
//
// A policy is written in YAML or in the DSL; both become the same File. Lang
// knows the grammar and the names of the IANA tables. What a word means depends
// on the field it is compared with, and that is package compiler's business.
package lang

// Syntax says which spelling of the language a file is written in.
type Syntax uint8

const (
	DSL  Syntax = iota // .hop
	YAML               // .yaml, .yml
)

// Verdict is the answer to a connection. The numbers are eBPF for Windows'
// (ebpf_nethooks.h); the zero value denies.
type Verdict uint8

const (
	Deny      Verdict = 0 // REJECT
	Allow     Verdict = 1 // PROCEED_SOFT: other filters may still block
	AllowHard Verdict = 2 // PROCEED_HARD: other filters cannot block
)

// String gives the YAML spelling: deny, allow or allow-hard.
func (v Verdict) String() string {
	switch v {
	case Deny:
		return "deny"
	case Allow:
		return "allow"
	case AllowHard:
		return "allow-hard"
	}
	return "invalid verdict"
}

// File is one parsed policy file. Lists keep the order of the text.
type File struct {
	Source  *Source
	Syntax  Syntax
	Imports []*Import

	Policy    *Word // the policy's name; nil where the file has none
	Hook      *Word // connect | accept; nil means connect
	Default   *VerdictWord
	Mode      *Word // enforce | audit; nil means enforce
	OnUnknown *Word // fail-closed | fail-open; nil means fail-closed

	Sets       []*Set
	Interfaces []*Interface
	Rules      []*Rule
	Asserts    []*Assert
	Tests      []*Test

	Headings map[string][]string // comments above the key of a YAML list, by key
	Trailing []string            // comments after the last statement
}

// Comments are the comment lines that belong to a node, without the `#`. A "\n"
// among those above is a blank line; as the first, it sets the node apart.
type Comments struct {
	Before []string // whole lines above it
	After  string   // at the end of its line
}

// Word is an identifier, a literal or a setting's value, as written. In
// `$name`, Text is `name` and Ref is true.
type Word struct {
	Span
	Comments
	Text string
	Ref  bool
}

// VerdictWord is a verdict as written: `allow hard`.
type VerdictWord struct {
	Span
	Comments
	Verdict Verdict
}

// Import is `import "PATH"`; the path is relative to the importing file.
type Import struct {
	Span
	Comments
	Path Word
}

// Set is `set ID [dynamic] = { LITERAL, ... }` or `set ID [dynamic] = file "PATH"`.
type Set struct {
	Span
	Comments
	Name    Word
	Dynamic bool
	Values  []Word
	File    *Word // nil where the values stand in the policy
}

// Interface is `interface ID = alias "VALUE"`; Kind is alias, luid, guid or name.
type Interface struct {
	Span
	Comments
	Name  Word
	Kind  Word
	Value Word
}

// Rule is `rule ID: VERDICT [log] [audit] [if EXPR] [unless EXPR]`.
type Rule struct {
	Span
	Comments
	ID     Word
	Action VerdictWord
	Log    bool
	Audit  bool
	Cond   Cond
}

// Assert is `assert ID: never VERDICT COND` or `assert ID: always VERDICT COND`.
type Assert struct {
	Span
	Comments
	ID      Word
	Always  bool
	Verdict VerdictWord
	Cond    Cond
}

// Test is `test { FIELD = LITERAL, ... } => VERDICT [by ID]`.
type Test struct {
	Span
	Comments
	Given  []Given
	Expect VerdictWord
	By     *Word // nil where any rule may decide
}

// Given is `FIELD = LITERAL` in a test.
type Given struct {
	Span
	Comments
	Field Word
	Value Word
}

// Cond is `[if EXPR] [unless EXPR]`. A nil part is absent; without both the
// condition is true. YAML's match, any_of and if are joined by And in If.
type Cond struct {
	If     Expr
	Unless Expr
}

// Expr is a condition: *Or, *And, *Not or *Compare. String gives the DSL's
// spelling, with no more parentheses than the grammar needs.
type Expr interface {
	At() Span
	String() string
	expr()
}

// Or is `TERM or TERM ...`, two terms or more.
type Or struct {
	Span
	Terms []Expr
	AnyOf bool // written as YAML's any_of
}

// And is `TERM and TERM ...`, two terms or more.
type And struct {
	Span
	Terms []Expr
}

// Not is `not X`.
type Not struct {
	Span
	X Expr
}

// Compare is `FIELD OP VALUE` or `FIELD [not] in { VALUE, ... }`.
type Compare struct {
	Span
	Field  Word
	Op     Op
	Values []Word // one, but for In and NotIn with Block
	Block  bool   // the values stand in braces or in a YAML list
}

// Op is a comparison operator.
type Op uint8

const (
	Equal        Op = iota // ==
	NotEqual               // !=
	Less                   // <
	LessEqual              // <=
	Greater                // >
	GreaterEqual           // >=
	In                     // in
	NotIn                  // not in
)

func (*Or) expr()      {}
func (*And) expr()     {}
func (*Not) expr()     {}
func (*Compare) expr() {}
