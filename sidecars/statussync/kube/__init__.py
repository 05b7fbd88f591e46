"""The Cluster port on the Kubernetes API: what `--cluster=kubernetes` stands for.

The `kubernetes` package reads kubeconfig files and service account credentials; requests are untyped JSON over the
connections that it configures, because its typed objects cost another 20 MiB (design, section 4). Nothing outside this
package imports it, and this package is imported only when the cluster is Kubernetes.

What is asked of the API server, and nothing else:

- `secretproviderclasses`: a list by name, and a watch by name for as long as a volume here uses the class;
- `secretproviderclasspodstatuses`: one watch of this node's own, by label; create, patch, delete;
- `secrets`: get, create, patch and delete by name; no list and no watch, so that no Secret of others is ever here;
- `pods`: get by name, for the owners of Secrets; `events`: create, patch.
"""
