// Reads objects as a JSON array from stdin; prints what their published schemas have against them, one line each.
import { readFileSync } from "node:fs";

const packages = {
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator/monitoring.coreos.com",
  "rbac.authorization.k8s.io": "kubernetes-models/rbac.authorization.k8s.io",
  "networking.k8s.io": "kubernetes-models/networking.k8s.io",
};

let wrong = 0;
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const [version, group] = object.apiVersion.split("/").reverse();
  const folder = group ? `${packages[group] ?? `kubernetes-models/${group}`}/${version}` : `kubernetes-models/${version}`;
  const what = `${object.kind}/${object.metadata?.name}`;
  try {
    const module = await import(`${folder}/${object.kind}`);
    new module[object.kind](object).validate();
  } catch (error) {
    wrong += 1;
    console.log(`${what}: ${error.message}`);
  }
}
process.exit(wrong ? 1 : 0);
