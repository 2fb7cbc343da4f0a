"""The tests of other packages that this one does not pass, each with its reason.

A peer is a file of this folder without `test_` and `.py`, and a test is what pytest prints behind
`::`. A test that is listed is run, and must fail: remove its entry once it passes.
"""

NO_ARRAY = "It compares arrays, but Examples are none: with output='csr' it passes."

ONLINE = "An online learner takes one step for weight 2, not two."
PENALIZED = "LogisticRegression(l1=0.0001,l2=0.0001,lr=0.1,n_jobs=2,passes=3,shuffle=True)"

DESELECTED: dict[str, dict[str, str]] = {
    "scikit_learn": {
        **{
            f"test_any_estimator[HashingEncoder(bits=8)-{check}]": NO_ARRAY
            for check in (
                "check_estimators_pickle",
                "check_estimators_pickle(readonly_memmap=True)",
                "check_fit_idempotent",
                "check_methods_sample_order_invariance",
                "check_methods_subset_invariance",
                "check_pipeline_consistency",
                "check_transformer_data_not_an_array",
                "check_transformer_general",
                "check_transformer_general(readonly_memmap=True)",
            )
        },
        "test_its_own_transformers[check_dataframe_column_names_consistency]": (
            "Columns are found by their names, in any order and among others."
        ),
    },
    "scikit_learn_learners": {
        **{
            f"test_checks[{learner}-check_sample_weight_equivalence_on_{kind}_data]": ONLINE
            for learner in (
                "LogisticRegression()",
                "LogisticRegression(lr=0.1)",
                PENALIZED,
                "FactorizationMachine(factors=4,passes=3)",
                "FieldAwareFactorizationMachine()",
                "FieldAwareFactorizationMachine(lr=0.1)",
            )
            for kind in ("dense", "sparse")
        },
        **{
            f"test_checks[{learner}-check_class_weight_classifiers]": (
                "It sets max_iter to 1000; few passes at a fixed rate are not enough."
            )
            for learner in (
                "LogisticRegression(lr=0.1)",
                PENALIZED,
                "FieldAwareFactorizationMachine(lr=0.1)",
            )
        },
        **{
            f"test_multiclass_{kind}_gridsearch": "It searches over C, which the learners lack."
            for kind in ("ovr", "ovo", "ecoc")
        },
        "test_multiclass_multiclass_estimator_attribute_error": (
            "It wraps a classifier without partial_fit, which the learners have."
        ),
        "test_multiclass_ovr_fit_predict": "It also fits the classifier itself to three classes.",
        "test_multiclass_ovr_multilabel": "It needs an exact fit of five rows, in one pass.",
        "test_multiclass_ovr_multilabel_dataset": "It expects the precision of naive Bayes.",
        "test_multiclass_ovo_partial_fit_predict": (
            "It learns 60 and 90 rows in the order of their classes, in one pass."
        ),
        "test_bagging_estimators_samples": ONLINE,
        "test_classification_threshold_fit_and_score_over_thresholds_sample_weight": ONLINE,
        **{
            f"test_calibration_calibration[True-sigmoid-{kind}]": (
                "It exchanges the classes, and expects 6 equal decimals of log-odds in float32."
            )
            for kind in ("csr_matrix", "csr_array")
        },
        **{
            f"test_calibration_calibration_frozen[temperature-{kind}]": (
                "It expects the Brier score of naive Bayes, which any calibration lowers."
            )
            for kind in ("csr_matrix", "csr_array")
        },
        "test_calibration_calibration_inconsistent_prefit_n_features_in": (
            "It expects the name LinearSVC in an error."
        ),
    },
    "torch_embedding": {
        "test_samples_scaled_by_frequency": "torch 2.13 divides the gradients of its EmbeddingBag,"
        " on CPUs only, by the counts of other ids; ours are those of its Embedding.",
    },
    "torch_optim": {
        "test_differentiable": "Gradients do not flow through a step that writes to memory.",
    },
}
