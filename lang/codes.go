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
	codeFileType         = "file-type"
	codeEncoding         = "encoding"
	codeEmptyFile        = "empty-file"
	codeLimit            = "limit"
	codeSyntax           = "syntax"
	codeString           = "string"
	codeUnknownStatement = "unknown-statement"
	codeUnknownKey       = "unknown-key"
	codeUnknownValue     = "unknown-value"
	codeDuplicateKey     = "duplicate-key"
	codeBadID            = "bad-id"
	codeEmpty            = "empty"
	codeMissingKey       = "missing-key"
	codeConflict         = "conflict"
	codeWrongKind        = "wrong-kind"
	codeNull             = "null"
	codeQuote            = "quote"
	codeYAML             = "yaml"
	codeYAMLSyntax       = "yaml-syntax"
)
