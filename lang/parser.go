package lang

import (
	"slices"
	"strings"
)

// parser reads DSL text by recursive descent, one token ahead. A function that
// reports an error returns false, and the statement is given up: resume goes on
// with the next one.
type parser struct {
	*report
	lex   lexer
	tok   token // the current token
	ahead token // the one after it
	end   int   // end of the last token consumed
	depth int   // parentheses and `not`s around the current condition
	open  int   // braces open
	file  *File

	nothing bool // no statement of a policy was found
}

func newParser(text passage, errs *report) *parser {
	p := &parser{report: errs, lex: lexer{passage: text, report: errs}}
	p.tok = p.lex.next()
	p.ahead = p.lex.next()
	return p
}

// advance consumes the current token.
func (p *parser) advance() {
	switch p.tok.kind {
	case openBrace:
		p.open++
	case closeBrace:
		p.open--
	}
	p.end = p.tok.end
	p.tok = p.ahead
	p.ahead = p.lex.next()
}

func (p *parser) span(t token) Span { return p.lex.span(t.start, t.end) }

// since is the text from start to the last token consumed.
func (p *parser) since(start int) Span { return p.lex.span(start, max(start, p.end)) }

// at reports whether the current token is the keyword.
func (p *parser) at(keyword string) bool { return p.tok.kind == word && p.tok.text == keyword }

// accept consumes the current token if it is the keyword.
func (p *parser) accept(keyword string) bool {
	if !p.at(keyword) {
		return false
	}
	p.advance()
	return true
}

// expect consumes a token of the kind, or reports what stands there instead.
func (p *parser) expect(kind tokenKind, what string) (token, bool) {
	t := p.tok
	if t.kind != kind {
		p.unexpected(what)
		return t, false
	}
	p.advance()
	return t, true
}

// unexpected reports that something else should stand here. What is missing at
// the end of a statement is reported there, not at the beginning of the next.
func (p *parser) unexpected(what string) *Diagnostic {
	at, found := p.span(p.tok), "`"+shorten(p.tok.text)+"`"
	switch {
	case p.tok.kind == endOfText:
		at, found = p.lex.span(p.end, p.end), "the end"
	case p.atNextStatement() || p.tok.kind == closeBrace && p.onNextLine():
		at, found = p.lex.span(p.end, p.end), "the end of the statement"
	case p.tok.kind == reference:
		found = "`$" + shorten(p.tok.text) + "`"
	case p.tok.kind == quoted:
		found = "a string"
	}
	d := p.errorf(at, codeSyntax, "expected %s, found %s", what, found)
	d.Hint = p.keywordHint()
	return d
}

// keywordHint says that a word would be a keyword in lower case.
func (p *parser) keywordHint() string {
	lower := strings.ToLower(p.tok.text)
	if p.tok.kind != word || lower == p.tok.text {
		return ""
	}
	switch lower {
	case "if", "unless", "and", "or", "not", "in", "log", "audit", "hard", "by":
		return "keywords are lower case: `" + lower + "`"
	}
	return ""
}

// parseDSL reads a whole .hop file and reports whether there was anything to make a
// tree of.
func parseDSL(file *File, errs *report) bool {
	p := newParser(passage{source: file.Source, text: string(file.Source.Text)}, errs)
	p.file = file
	for p.at("import") {
		p.importStatement()
	}
	p.policy()
	attachComments(file, p.lex.comments, nil)
	return !p.nothing
}

func (p *parser) importStatement() {
	start := p.tok.start
	p.advance()
	path, ok := p.expect(quoted, "the file to import, in quotes")
	if !ok {
		for p.tok.kind != endOfText && !p.at("import") && !p.at("policy") {
			p.advance()
		}
		return
	}
	p.file.Imports = append(p.file.Imports, &Import{Span: p.since(start), Path: p.text(path)})
}

func (p *parser) policy() {
	if !p.header() && (!p.resume() || p.tok.kind == closeBrace) {
		p.nothing = true
		return
	}
	p.open = 1
	for p.tok.kind != endOfText && p.tok.kind != closeBrace && !p.stopped {
		p.statement()
	}
	if p.stopped {
		return
	}
	if _, ok := p.expect(closeBrace, "a statement or the policy's closing `}`"); ok && p.tok.kind != endOfText {
		d := p.errorf(p.span(p.tok), codeSyntax, "expected nothing after the policy, found `%s`", shorten(p.tok.text))
		if d.Hint = "a file holds one policy"; p.tok.kind == closeBrace {
			d.Hint = "one `}` less"
		}
	}
}

// header reads `policy NAME {`. After a name that is none it goes on behind the `{`.
func (p *parser) header() bool {
	if !p.accept("policy") {
		p.unexpected("`policy NAME {`")
		return false
	}
	name, ok := p.id("the policy's name")
	if !ok {
		if p.ahead.kind != openBrace {
			return false
		}
		p.advance()
	} else {
		p.file.Policy = &name
	}
	_, ok = p.expect(openBrace, "`{`")
	return ok
}

// statements names what may stand in a policy.
var statements = [...]string{"hook", "default", "mode", "on", "set", "interface", "rule", "assert", "test"}

func (p *parser) statement() {
	keyword := p.tok
	parse := p.unknownStatement
	if keyword.kind == word {
		switch keyword.text {
		case "hook":
			parse = func() bool { return p.setting(&p.file.Hook, hooks[:]) }
		case "mode":
			parse = func() bool { return p.setting(&p.file.Mode, modes[:]) }
		case "on":
			parse = p.onUnknown
		case "default":
			parse = p.defaultVerdict
		case "set":
			parse = p.set
		case "interface":
			parse = p.namedInterface
		case "rule":
			parse = p.rule
		case "assert":
			parse = p.assert
		case "test":
			parse = p.test
		}
	}
	p.depth = 0
	if !parse() {
		if p.tok.start == keyword.start {
			p.advance()
		}
		p.resume()
	}
}

// resume passes over the rest of a broken statement. It stops where the next one
// begins or the policy ends, and reports whether anything is left.
func (p *parser) resume() bool {
	for p.tok.kind != endOfText && !p.stopped {
		if p.atStatement() {
			p.open = 1
			return true
		}
		if p.tok.kind == closeBrace && p.open <= 1 {
			return true
		}
		p.advance()
	}
	return false
}

// atStatement reports whether a statement begins here, not just a value or a
// field of that name (`interface == ...`).
func (p *parser) atStatement() bool {
	if p.tok.kind != word || !slices.Contains(statements[:], p.tok.text) {
		return false
	}
	if p.tok.text == "test" {
		return p.ahead.kind == openBrace
	}
	return p.ahead.kind == word && !(p.tok.text == "interface" && (p.ahead.text == "in" || p.ahead.text == "not"))
}

// atNextStatement reports whether a statement begins on a line of its own here:
// what the current one still needs is missing.
func (p *parser) atNextStatement() bool { return p.atStatement() && p.onNextLine() }

// onNextLine reports whether the current token stands on another line than the
// one before it.
func (p *parser) onNextLine() bool {
	lines := p.lex.source
	return p.end > 0 && lines.lineOf(p.span(p.tok).Start) > lines.lineOf(p.lex.span(p.end, p.end).Start)
}

func (p *parser) unknownStatement() bool {
	if p.tok.kind != word {
		p.unexpected("a statement").Hint = "a statement begins with " + orList(statements[:])
		return false
	}
	d := p.errorf(p.span(p.tok), codeUnknownStatement, "unknown statement `%s`", shorten(p.tok.text))
	switch {
	case p.at("import"):
		d.Hint = "`import` stands before the policy"
	case p.at("policy"):
		d.Hint = "a file holds one policy"
	case p.at("log"):
		d.Hint = "only rules log: end with one that always matches, as `rule rest: deny log`"
	case strings.HasPrefix(p.tok.text, "//"):
		d.Hint = "comments begin with `#`"
	case p.keywordHint() != "":
		d.Hint = p.keywordHint()
	case meantKey(p.tok.text) == "if":
		d.Hint = "write `if`"
	case p.at("on_unknown"):
		d.Hint = "write `on unknown`"
	case p.at("hard"):
		d.Hint = "only `allow` can be hard"
	case p.ahead.kind >= equal:
		d.Hint = "join conditions with `and` or `or`"
	default:
		d.Hint = didYouMean(p.tok.text, statements[:], "a statement begins with ")
	}
	return false
}

// setting reads `hook connect` and the like.
func (p *parser) setting(into **Word, values []string) bool {
	keyword := p.tok
	p.advance()
	value := p.tok
	if value.kind != word || p.atStatement() {
		p.unexpected(orList(values))
		return false
	}
	p.advance()
	w := p.wordAt(value)
	if !p.knownValue(w, keyword.text, values) {
		return true
	}
	if p.once(p.span(keyword), keyword.text, *into != nil, func() Span { return (*into).Span }) {
		*into = &w
	}
	return true
}

func (p *parser) onUnknown() bool {
	start := p.tok
	p.advance()
	if !p.at("unknown") {
		p.unexpected("`unknown`").Hint = "write `on unknown fail-closed` or `on unknown fail-open`"
		return false
	}
	p.tok.start, p.tok.text = start.start, "on unknown"
	return p.setting(&p.file.OnUnknown, onUnknowns[:])
}

func (p *parser) defaultVerdict() bool {
	keyword := p.tok
	p.advance()
	v, ok := p.verdict()
	if ok && p.once(p.span(keyword), "default", p.file.Default != nil, func() Span { return p.file.Default.Span }) {
		p.file.Default = &v
	}
	return ok
}

func (p *parser) set() bool {
	start := p.tok.start
	p.advance()
	name, ok := p.id("the set's name")
	if !ok {
		return false
	}
	s := &Set{Name: name, Dynamic: p.accept("dynamic")}
	p.file.Sets = append(p.file.Sets, s)
	defer func() { s.Span = p.since(start) }()
	if _, ok := p.expect(assign, "`=`"); !ok {
		return false
	}
	if p.accept("file") {
		path, ok := p.expect(quoted, "the file's path, in quotes")
		if !ok {
			return false
		}
		w := p.text(path)
		s.File = &w
		return true
	}
	if p.tok.kind != openBrace {
		p.unexpected("`{ VALUE, ... }` or `file \"PATH\"`").Hint = p.bracesHint()
		return false
	}
	s.Values, ok = p.block(s.Dynamic)
	return ok
}

func (p *parser) namedInterface() bool {
	start := p.tok.start
	p.advance()
	name, ok := p.id("the interface's name")
	if !ok {
		return false
	}
	i := &Interface{Name: name}
	p.file.Interfaces = append(p.file.Interfaces, i)
	defer func() { i.Span = p.since(start) }()
	if _, ok := p.expect(assign, "`=`"); !ok {
		return false
	}
	kind := p.tok
	if kind.kind != word || !slices.Contains(interfaceKinds[:], kind.text) {
		p.unexpected(orList(interfaceKinds[:])).Hint = "write `interface " + name.Text + " = alias \"...\"`"
		return false
	}
	p.advance()
	i.Kind = p.wordAt(kind)
	value, ok := p.expect(quoted, "the interface's "+kind.text+", in quotes")
	if ok {
		i.Value = p.text(value)
	}
	return ok
}

func (p *parser) rule() bool {
	start := p.tok.start
	p.advance()
	id, ok := p.id("the rule's id")
	if !ok {
		return false
	}
	checkRuleID(p.report, id)
	r := &Rule{ID: id}
	p.file.Rules = append(p.file.Rules, r)
	defer func() { r.Span = p.since(start) }()
	if _, ok := p.expect(colon, "`:`"); !ok {
		return false
	}
	if r.Action, ok = p.verdict(); !ok {
		return false
	}
	for {
		flag := &r.Log
		switch {
		case p.at("log"):
		case p.at("audit"):
			flag = &r.Audit
		default:
			r.Cond, ok = p.cond()
			return ok
		}
		if *flag {
			p.errorf(p.span(p.tok), codeDuplicateKey, "`%s` is given twice", p.tok.text)
		}
		*flag = true
		p.advance()
	}
}

func (p *parser) assert() bool {
	start := p.tok.start
	p.advance()
	id, ok := p.id("the assert's id")
	if !ok {
		return false
	}
	a := &Assert{ID: id}
	p.file.Asserts = append(p.file.Asserts, a)
	defer func() { a.Span = p.since(start) }()
	if _, ok := p.expect(colon, "`:`"); !ok {
		return false
	}
	a.Always = p.at("always")
	if !a.Always && !p.at("never") {
		p.unexpected("`never` or `always`")
		return false
	}
	p.advance()
	return p.claim(a)
}

// claim reads the `VERDICT COND` of an assert.
func (p *parser) claim(a *Assert) (ok bool) {
	if a.Verdict, ok = p.verdict(); ok {
		a.Cond, ok = p.cond()
	}
	return ok
}

func (p *parser) test() bool {
	start := p.tok.start
	p.advance()
	if _, ok := p.expect(openBrace, "`{`"); !ok {
		return false
	}
	t := &Test{}
	if p.tok.kind != closeBrace {
		var ok bool
		if t.Given, ok = p.givens(); !ok {
			return false
		}
	}
	if _, ok := p.expect(closeBrace, "`,` or `}`"); !ok {
		return false
	}
	if _, ok := p.expect(arrow, "`=>`"); !ok {
		return false
	}
	var ok bool
	if t.Expect, ok = p.verdict(); !ok {
		return false
	}
	if p.accept("by") {
		by, ok := p.id("a rule's id")
		if !ok {
			return false
		}
		t.By = &by
	}
	t.Span = p.since(start)
	p.file.Tests = append(p.file.Tests, t)
	return true
}

// givens reads `FIELD = LITERAL, ...`.
func (p *parser) givens() ([]Given, bool) {
	var list []Given
	for {
		start := p.tok.start
		field, ok := p.expect(word, "a field")
		if !ok {
			return list, false
		}
		if p.tok.kind == equal {
			p.errorf(p.span(p.tok), codeSyntax, "a test gives values with `=`").Hint = "write `" + shorten(field.text) + " = ...`"
			p.tok.kind = assign
		}
		if _, ok := p.expect(assign, "`=`"); !ok {
			return list, false
		}
		value, ok := p.literal()
		if !ok {
			return list, false
		}
		list = appendGiven(p.report, list, Given{Span: p.since(start), Field: p.wordAt(field), Value: value})
		if p.tok.kind != comma {
			return list, true
		}
		p.advance()
	}
}

func (p *parser) wordAt(t token) Word {
	return Word{Span: p.span(t), Text: t.text, Ref: t.kind == reference}
}

// text makes a Word of a string; the word's place is that of the whole string.
func (p *parser) text(t token) Word { return Word{Span: p.span(t), Text: t.text} }

func (p *parser) id(what string) (Word, bool) {
	if p.tok.kind == reference {
		p.errorf(p.span(p.tok), codeSyntax, "a name has no `$` where it is defined").Hint = "write `" + shorten(p.tok.text) + "`"
		p.tok.kind = word
	}
	t, ok := p.expect(word, what)
	w := p.wordAt(t)
	if ok {
		checkID(p.report, w)
	}
	return w, ok
}

func (p *parser) verdict() (VerdictWord, bool) {
	t := p.tok
	v := VerdictWord{Span: p.span(t)}
	if t.kind != word || p.at("if") || p.at("unless") || p.atNextStatement() {
		p.unexpected("a verdict: " + orList(verdictWords[:]))
		return v, false
	}
	switch t.text {
	case "deny":
	case "allow":
		v.Verdict = Allow
		if p.ahead.kind == word && p.ahead.text == "hard" {
			v.Verdict = AllowHard
			p.advance()
			v.Span = p.lex.span(t.start, p.tok.end)
		}
	case "allow-hard":
		v.Verdict = AllowHard
		p.errorf(v.Span, codeUnknownValue, "`allow-hard` is the YAML spelling").Hint = "write `allow hard`"
	default:
		d := p.errorf(v.Span, codeUnknownValue, "unknown verdict `%s`", shorten(t.text))
		d.Hint = didYouMean(t.text, verdictWords[:], "a verdict is ")
	}
	p.advance()
	return v, true
}
