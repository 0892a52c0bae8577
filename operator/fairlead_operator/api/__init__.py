"""The API that users write: the typed `InferencePool`, its conditions and its CustomResourceDefinition."""
