from tokenreel.tasks import step_seeds


def test_each_step_has_a_name_and_the_innermost_manager_counts():
    assert step_seeds.current().seed == 0 and step_seeds.current().name("a") == step_seeds.current().name("a") == "0/a"
    with step_seeds.map_seed_manager(7):
        assert [step_seeds.current().name("a"), step_seeds.current().name("b")] == ["0/a", "1/b"]
        with step_seeds.map_seed_manager(8) as inner:
            assert step_seeds.current() is inner and inner.seed == 8 and inner.name("a") == "0/a"
        assert (step_seeds.current().seed, step_seeds.current().steps) == (7, 2)
    assert step_seeds.current().seed == 0
