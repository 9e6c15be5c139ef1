package lang_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/hopgate/hopgate/lang"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(lang.Schema()))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("policy.json", doc))
	schema, err := c.Compile("policy.json")
	require.NoError(t, err)
	return schema
}

// validate checks text as an editor would: with YAML's own typing.
func validate(schema *jsonschema.Schema, text []byte) error {
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	return schema.Validate(doc)
}

func TestSchemaIsGolden(t *testing.T) { golden(t, "testdata/schema.json", lang.Schema()) }

func TestSchemaTakesPolicies(t *testing.T) {
	schema := compiledSchema(t)
	for path, file := range policies(t) {
		require.NoError(t, validate(schema, lang.Format(file, lang.YAML)), path)
		if file.Syntax == lang.YAML {
			require.NoError(t, validate(schema, file.Source.Text), path)
		}
	}
	examples, err := filepath.Glob("../examples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
}

// TestSchemaRefuses holds that an editor marks what Parse refuses: each text of
// testdata/invalid.txt, policies of one error each.
func TestSchemaRefuses(t *testing.T) {
	schema := compiledSchema(t)
	src, err := os.ReadFile("testdata/invalid.txt")
	require.NoError(t, err)
	texts := strings.Split(string(src), "----\n")
	for _, c := range lang.Codes() {
		if c.Syntax == lang.YAML && c.Name != "yaml" {
			texts = append(texts, c.Bad)
		}
	}
	for _, text := range texts {
		_, err := lang.Parse("x.yaml", []byte(text))
		require.Error(t, err, text)
		require.Error(t, validate(schema, []byte(text)), text)
	}
	for _, path := range glob(t, "errors/*.yaml") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Error(t, validate(schema, text), path)
	}
}

// What the whole policy need not be asked for, the schema knows: names, numbers
// out of range, fields.
func TestSchemaKnowsFields(t *testing.T) {
	schema := compiledSchema(t)
	for _, tt := range []struct {
		match string
		ok    bool
	}{
		{"interface_type: wifi", true},
		{"interface_type: [IF_TYPE_IEEE80211, 71, unknown, cellular]", true},
		{"interface_type: vpn", false},
		{"interface_type: -1", false},
		{"tunnel_type: 6to4", true},
		{"tunnel_type: wifi", false},
		{"remote_port: [445, 1-2/tcp, $ports]", true},
		{"remote_port: 70000", false},
		{"remote_port: https", false},
		{"remote_address: [10.0.0.0/8, '::1', '10.0.0.1-10.0.0.9']", true},
		{"remote_address: example.org", false},
		{"remote: ['[::1]:443/udp', '10.0.0.1:53', 10.0.0.1]", true},
		{"next_hop: [$vpn, ethernet_32773, 0x6008005000000, unknown]", true},
		{"protocol: [tcp, 6]", true},
		{"protocol: quic", false},
		{"protocol: 256", false},
		{"family: ipv6", true},
		{"family: v6", false},
		{"sub_interface: 1-5", true},
		{"remot_port: 1", false},
	} {
		err := validate(schema, []byte("rules: [{id: a, action: deny, match: {"+tt.match+"}}]"))
		require.Equal(t, tt.ok, err == nil, "%s: %v", tt.match, err)
	}
}
