package cli

import (
	"net/url"
	"path/filepath"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// The parts of SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format)
// that code scanning services show.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool     `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string        `json:"id"`
	ShortDescription *sarifMessage `json:"shortDescription,omitempty"`
	FullDescription  *sarifMessage `json:"fullDescription,omitempty"`
}

type sarifResult struct {
	RuleID           string          `json:"ruleId"`
	RuleIndex        int             `json:"ruleIndex"`
	Level            string          `json:"level"`
	Message          sarifMessage    `json:"message"`
	Locations        []sarifLocation `json:"locations,omitempty"`
	RelatedLocations []sarifLocation `json:"relatedLocations,omitempty"`
}

type sarifLocation struct {
	PhysicalLocation sarifPhysicalLocation `json:"physicalLocation"`
	Message          *sarifMessage         `json:"message,omitempty"`
}

type sarifPhysicalLocation struct {
	ArtifactLocation sarifArtifactLocation `json:"artifactLocation"`
	Region           sarifRegion           `json:"region"`
}

type sarifArtifactLocation struct {
	URI string `json:"uri"`
}

// sarifRegion counts from 1; the end is excluded.
type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
	EndLine     int `json:"endLine"`
	EndColumn   int `json:"endColumn"`
}

type sarifMessage struct {
	Text string `json:"text"`
}

// newSARIF makes a log of one run.
func newSARIF(findings lang.Diagnostics) sarifLog {
	run := sarifRun{
		Tool:       sarifTool{Driver: sarifDriver{Name: "hopgate", Version: version(), Rules: []sarifRule{}}},
		ColumnKind: "unicodeCodePoints",
		Results:    []sarifResult{},
	}
	documented := codes()
	for _, d := range findings {
		rules := &run.Tool.Driver.Rules
		index := slices.IndexFunc(*rules, func(r sarifRule) bool { return r.ID == d.Code })
		if index < 0 {
			index = len(*rules)
			*rules = append(*rules, newSARIFRule(d.Code, documented))
		}
		result := sarifResult{RuleID: d.Code, RuleIndex: index, Level: sarifLevels[d.Severity], Message: sarifMessage{d.Message}}
		if d.Hint != "" {
			result.Message.Text += "\n" + d.Hint
		}
		if d.Source != nil {
			result.Locations = []sarifLocation{newSARIFLocation(d.Span, "")}
		}
		for _, note := range d.Notes {
			if note.Source != nil {
				result.RelatedLocations = append(result.RelatedLocations, newSARIFLocation(note.Span, note.Message))
			}
		}
		run.Results = append(run.Results, result)
	}
	return sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	}
}

var sarifLevels = [...]string{lang.Error: "error", lang.Warning: "warning", lang.Info: "note"}

func newSARIFRule(name string, documented []lang.Code) sarifRule {
	i := slices.IndexFunc(documented, func(c lang.Code) bool { return c.Name == name })
	if i < 0 {
		return sarifRule{ID: name}
	}
	return sarifRule{
		ID:               name,
		ShortDescription: &sarifMessage{documented[i].Title},
		FullDescription:  &sarifMessage{documented[i].Explanation},
	}
}

func newSARIFLocation(at lang.Span, message string) sarifLocation {
	l := sarifLocation{PhysicalLocation: sarifPhysicalLocation{ArtifactLocation: sarifArtifactLocation{fileURI(at.Source.Name)}}}
	region := &l.PhysicalLocation.Region
	region.StartLine, region.StartColumn = at.Source.Position(at.Start)
	region.EndLine, region.EndColumn = at.Source.Position(max(at.Start, at.End))
	if message != "" {
		l.Message = &sarifMessage{message}
	}
	return l
}

// fileURI is a file's URI: relative if the path is, and then to the folder in which
// hopgate runs.
func fileURI(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
		if u.Path[0] != '/' {
			u.Path = "/" + u.Path // C:/...
		}
	}
	return u.String()
}
