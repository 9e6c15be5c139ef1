package compiler

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// Options say how a policy is checked. The zero value suits a policy on disk.
type Options struct {
	// Open reads a file that the policy imports or takes a set from. The path is
	// relative to the importing file's name, joined to its folder. Nil reads from
	// the host.
	Open func(path string) ([]byte, error)
	// Bind gives LUIDs to named interfaces; 0 is an interface that is absent.
	Bind map[string]uint64
	// BindAll binds what is left to the LUID invented for it: for hooks that run
	// a policy without a host.
	BindAll bool
	// Asserts are checked with those of the policy.
	Asserts []*lang.Assert
}

// Check gives a syntax tree its meaning: names, types and units are resolved,
// files it names are read. The error is a lang.Diagnostics with everything that
// is wrong; without one, Policy.Warnings has what is merely doubtful.
func Check(file *lang.File, opts *Options) (*Policy, error) {
	c := &checker{
		policy:     &Policy{},
		sets:       map[string]*set{},
		interfaces: map[string]*namedInterface{},
		rules:      map[string]lang.Span{},
	}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Open == nil {
		c.opts.Open = readFile
	}
	l := loader{checker: c, seen: map[string]bool{}}
	l.load(file)
	c.checkIDs(file)
	c.header(file)
	for _, f := range l.files {
		c.settings(file, f)
		c.declareNames(f)
	}
	c.bind()
	c.checkCycles()
	for _, f := range l.files {
		c.checkRules(f.Rules)
	}
	c.checkAsserts(slices.Concat(file.Asserts, c.opts.Asserts))
	c.policy.tested = testedFields(c.policy)
	c.checkTests(file.Tests)
	c.finishNames(file)
	c.diags = c.diags.Sort()
	if err := c.diags.Err(); err != nil {
		return nil, err
	}
	statements := c.policy.statements()
	for _, s := range c.setOrder {
		if s.Source != nil {
			statements = append(statements, s.Span)
		}
	}
	c.policy.Warnings = unsilenced(c.diags, statements)
	return c.policy, nil
}

// checker holds what is known of a policy while it is checked.
type checker struct {
	opts       Options
	policy     *Policy
	sets       map[string]*set
	setOrder   []*set
	interfaces map[string]*namedInterface
	rules      map[string]lang.Span // by id
	folded     int                  // elements of all constant sets so far
	within     string               // what is being checked, for trees without source
	diags      lang.Diagnostics
	errors     int
}

// maxErrors is how many errors are collected: the rest of a file of another kind
// is of no use.
const maxErrors = 100

// report adds a finding and returns it, for notes to be added; the pointer is
// good until the next finding.
func (c *checker) report(at lang.Span, p *problem) *lang.Diagnostic {
	d := lang.Diagnostic{Span: at, Severity: p.severity, Code: p.code, Message: p.message, Hint: p.hint}
	if at.Source == nil && c.within != "" {
		d.Message = c.within + ": " + d.Message
	}
	if p.severity == lang.Error {
		c.errors++
	}
	switch {
	case c.errors == maxErrors+1 && p.severity == lang.Error:
		d = lang.Diagnostic{Span: at, Code: codeLimit, Message: fmt.Sprintf("more than %d errors; the rest is not shown", maxErrors)}
	case c.errors > maxErrors:
		return &d
	}
	c.diags = append(c.diags, d)
	return &c.diags[len(c.diags)-1]
}

func (c *checker) errorf(at lang.Span, code, format string, args ...any) *lang.Diagnostic {
	return c.report(at, wrong(code, "", format, args...))
}

func (c *checker) warnf(at lang.Span, code, format string, args ...any) *lang.Diagnostic {
	p := wrong(code, "", format, args...)
	p.severity = lang.Warning
	return c.report(at, p)
}

// firstDefined is the note on the earlier of two definitions.
func firstDefined(at lang.Span) []lang.Note {
	return []lang.Note{{Span: at, Message: "first defined here"}}
}

// header reads what only the file itself may say, not what it imports.
func (c *checker) header(file *lang.File) {
	p := c.policy
	switch {
	case file.Policy != nil:
		p.Name = file.Policy.Text
	case file.Source != nil:
		base := filepath.Base(file.Source.Name)
		p.Name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	at := lang.Span{Source: file.Source}
	if file.Policy != nil {
		at = file.Policy.Span
	}
	if file.Default == nil {
		d := c.errorf(at, codeMissingDefault, "the policy has no default")
		d.Hint = "say what happens to a connection that no rule matches: `default deny` or `default allow`"
		if file.Syntax == lang.YAML {
			d.Hint = strings.ReplaceAll(d.Hint, "`default ", "`default: ")
		}
	} else if p.Default = file.Default.Verdict; p.Default > lang.AllowHard {
		c.errorf(at, codeMissingDefault, "the default is no verdict")
	}
	if text(file.Hook) == Accept.String() {
		p.Hook = Accept
	}
	p.AuditMode = text(file.Mode) == "audit"
	p.FailOpen = text(file.OnUnknown) == "fail-open"
}

func text(w *lang.Word) string {
	if w == nil {
		return ""
	}
	return w.Text
}

// settings reports settings of an imported file that differ from the policy's.
func (c *checker) settings(file, imported *lang.File) {
	c.setting("hook", imported.Hook, file.Hook, c.policy.Hook.String())
	onUnknown := "fail-closed"
	if c.policy.FailOpen {
		onUnknown = "fail-open"
	}
	c.setting("on unknown", imported.OnUnknown, file.OnUnknown, onUnknown)
}

func (c *checker) setting(name string, imported, own *lang.Word, value string) {
	if imported == nil || imported.Text == value {
		return
	}
	d := c.errorf(imported.Span, codeImportConflict, "the imported `%s` is `%s`, the policy's is `%s`", name, imported.Text, value)
	if own != nil {
		d.Notes = []lang.Note{{Span: own.Span, Message: "the policy sets it here"}}
	} else {
		d.Hint = fmt.Sprintf("`%s` is the default; set `%s` in the importing policy too", value, name)
	}
}

func (c *checker) checkRules(rules []*lang.Rule) {
	c.policy.Rules = slices.Grow(c.policy.Rules, len(rules))
	for _, r := range rules {
		c.within = "rule `" + r.ID.Text + "`"
		if first, ok := c.rules[r.ID.Text]; ok {
			c.errorf(r.ID.Span, codeDuplicateRule, "there are two rules `%s`", r.ID.Text).Notes = firstDefined(first)
		} else {
			c.rules[r.ID.Text] = r.ID.Span
		}
		cond, at := c.condition(r.Cond)
		c.policy.Rules = append(c.policy.Rules, Rule{
			Span: r.Span, ID: r.ID.Text, Verdict: r.Action.Verdict, Log: r.Log, Audit: r.Audit, Cond: cond, at: at,
		})
	}
	c.within = ""
}

func (c *checker) checkAsserts(asserts []*lang.Assert) {
	seen := map[string]lang.Span{}
	for _, a := range asserts {
		c.within = "assert `" + a.ID.Text + "`"
		if first, ok := seen[a.ID.Text]; ok {
			c.errorf(a.ID.Span, codeDuplicateAssert, "there are two asserts `%s`", a.ID.Text).Notes = firstDefined(first)
		}
		seen[a.ID.Text] = a.ID.Span
		cond, at := c.condition(a.Cond)
		c.policy.Asserts = append(c.policy.Asserts, Assert{
			Span: a.Span, ID: a.ID.Text, Always: a.Always, Verdict: a.Verdict.Verdict, Cond: cond, at: at,
		})
	}
	c.within = ""
}

func (c *checker) checkTests(tests []*lang.Test) {
	for i, t := range tests {
		c.within = fmt.Sprintf("test %d", i+1)
		r := requestReader{policy: c.policy, request: NoContext()}
		for _, g := range t.Given {
			literal := g.Value.Text
			if g.Value.Ref {
				literal = "$" + literal
			}
			if p := r.set(g.Field.Text, literal); p != nil {
				at := g.Value.Span
				if p.code == codeUnknownField || p.code == codeFieldNotInHook {
					at = g.Field.Span
				}
				c.report(at, p)
			}
		}
		by := text(t.By)
		if by != "" && by != DefaultRule {
			c.expectRule(t.By)
		}
		c.policy.Tests = append(c.policy.Tests, Test{Span: t.Span, Request: r.finish(), Expect: t.Expect.Verdict, By: by})
	}
	c.within = ""
}

func (c *checker) expectRule(by *lang.Word) {
	if _, ok := c.rules[by.Text]; ok {
		return
	}
	ids := append(slices.Sorted(maps.Keys(c.rules)), DefaultRule)
	c.report(by.Span, wrong(codeUnknownRule, didYouMean(by.Text, ids), "no rule is called `%s`", by.Text))
}
