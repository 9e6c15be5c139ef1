package cli

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The elements of JUnit's XML that CI systems read.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes one suite a policy.
func writeJUnit(w io.Writer, results []testedPolicy) error {
	var all junitSuites
	for _, p := range results {
		suite := junitSuite{Name: p.File, Tests: len(p.Tests), Failures: p.failures()}
		for _, t := range p.Tests {
			test := junitCase{Class: p.Policy, Name: fmt.Sprintf("%s: %s", t.Place, t.Given)}
			if !t.Passed {
				test.Failure = &junitFailure{
					Message: fmt.Sprintf("expected %s, got %s", t.Expected.text(), t.Got.text()),
					Text:    strings.Join(t.Got.Explanation, "\n"),
				}
			}
			suite.Cases = append(suite.Cases, test)
		}
		all.Tests += suite.Tests
		all.Failures += suite.Failures
		all.Suites = append(all.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
