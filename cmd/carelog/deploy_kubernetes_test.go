package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manifest is what is looked at of a resource of Kubernetes, beyond its schema.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Data       map[string]string // of a ConfigMap
	Spec       struct {
		Selector    map[string]any // of a Service, a PodDisruptionBudget, a Deployment
		PodSelector struct {       // of a NetworkPolicy
			MatchLabels map[string]string `yaml:"matchLabels"`
		} `yaml:"podSelector"`
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
}

type podSpec struct {
	TerminationGracePeriodSeconds int         `yaml:"terminationGracePeriodSeconds"`
	InitContainers                []container `yaml:"initContainers"`
	Containers                    []container
	SecurityContext               struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
		RunAsUser    int  `yaml:"runAsUser"`
	} `yaml:"securityContext"`
}

type container struct {
	Args    []string
	Ports   []struct{ Name string }
	EnvFrom []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
}

// TestKubernetes: kubectl can build both kustomizations, every resource is as the schema
// of its kind says, and what they say of Carelog is so. Without kubectl the files of the
// resources are looked at alone.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	schemas := deploySchemas(t, "kubernetes-1.34")
	for _, name := range []string{"base", "production"} {
		text, built := buildKustomization(t, "kubernetes/"+name)
		documents := yamlDocuments(t, text)
		for i, part := range strings.Split(text, "\n---\n") {
			m := readYAML[manifest](t, part)
			where := fmt.Sprintf("%s: %s %s", name, m.Kind, m.Metadata.Name)
			group, version, ok := strings.Cut(m.APIVersion, "/")
			if !ok {
				group, version = "core", group
			}
			group, _, _ = strings.Cut(group, ".")
			schema, err := schemas("#/$defs/io.k8s.api." + group + "." + version + "." + m.Kind)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			if err := schema.Validate(documents[i]); err != nil {
				t.Errorf("%s: %v", where, err)
			}
			for _, property := range []string{"readOnlyRootFilesystem", "metadata"} { // one deep down, and one above
				if wrong := spoilt(documents[i], property); strings.Contains(part, property) && schema.Validate(wrong) == nil {
					t.Errorf("%s: a misspelt %s is not noticed", where, property)
				}
			}
		}
		if built {
			mustFitTogether(t, name, text)
		}
	}
}

// buildKustomization is what kubectl makes of a kustomization, or its files as they are.
func buildKustomization(t *testing.T, dir string) (text string, built bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "kubectl", "kustomize", filepath.Join("../../deploy", dir))
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if err == nil {
		return strings.TrimSpace(stdout.String()), true
	}
	if !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("kubectl kustomize: %v: %s", err, &stderr)
	}
	t.Logf("kubectl is not installed, so it was not seen that %s can be built, and that its parts fit together", dir)
	var files []string
	for _, file := range readYAML[struct{ Resources []string }](t, readDeploy(t, dir+"/kustomization.yaml")).Resources {
		if strings.HasSuffix(file, ".yaml") {
			files = append(files, strings.TrimSpace(readDeploy(t, dir+"/"+file)))
		}
	}
	return strings.Join(files, "\n---\n"), false
}

// mustFitTogether: selectors select the pods, the server takes the settings, commands are
// there, and a pod has the time that a stop takes.
func mustFitTogether(t *testing.T, name, text string) {
	t.Helper()
	var deployment manifest
	settings, selectors := map[string]string{}, map[string]string{}
	for part := range strings.SplitSeq(text, "\n---\n") {
		switch m := readYAML[manifest](t, part); m.Kind {
		case "Deployment":
			deployment = m
			selectors[m.Kind] = fmt.Sprint(m.Spec.Selector["matchLabels"])
		case "ConfigMap":
			settings = m.Data
			settings["name"] = m.Metadata.Name
		case "Service":
			selectors[m.Kind] = fmt.Sprint(m.Spec.Selector)
		case "PodDisruptionBudget":
			selectors[m.Kind] = fmt.Sprint(m.Spec.Selector["matchLabels"])
		case "NetworkPolicy":
			selectors[m.Kind] = fmt.Sprint(m.Spec.PodSelector.MatchLabels)
		}
	}
	pod := deployment.Spec.Template
	for kind, selector := range selectors {
		if selector != fmt.Sprint(pod.Metadata.Labels) {
			t.Errorf("%s: the %s selects %s, and the pods have %v", name, kind, selector, pod.Metadata.Labels)
		}
	}
	if len(selectors) != 4 || len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 1 {
		t.Fatalf("%s: not all is there: %v, %d containers, %d before", name, selectors, len(pod.Spec.Containers), len(pod.Spec.InitContainers))
	}
	server := pod.Spec.Containers[0]
	if server.EnvFrom[0].ConfigMapRef.Name != settings["name"] {
		t.Errorf("%s: the ConfigMap is %s, and the pod takes %s", name, settings["name"], server.EnvFrom[0].ConfigMapRef.Name)
	}
	delete(settings, "name")
	settings["DATABASE_URL"], settings["NATS_URL"], settings["CARELOG_JWT_SECRET"] = "postgres://u@h/d", "nats://h:4222", testSecret
	config := mustConfigure(t, name, settings)
	stop := time.Duration(server.Lifecycle.PreStop.Sleep.Seconds)*time.Second + config.ShutdownTimeout
	if grace := time.Duration(pod.Spec.TerminationGracePeriodSeconds) * time.Second; stop <= config.ShutdownTimeout || grace < stop+5*time.Second {
		t.Errorf("%s: a pod has %v to stop, which takes %v", name, grace, stop)
	}
	if pod.Spec.SecurityContext.RunAsUser != 65532 || !pod.Spec.SecurityContext.RunAsNonRoot {
		t.Errorf("%s: it runs as %d, and the image is for 65532", name, pod.Spec.SecurityContext.RunAsUser)
	}
	mustBeACommand(t, name, server.Args)
	mustBeACommand(t, name, pod.Spec.InitContainers[0].Args)
}
